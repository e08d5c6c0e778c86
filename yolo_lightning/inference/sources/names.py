"""Names of outputs, so that no output is called as another."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, count

__all__ = ["stems_of_frames", "unique_names"]

_FRAME_NUMBER = re.compile(r"_\d+$")


def unique_names(paths: Sequence[str], reserved: Collection[str] = ()) -> list[str]:
    """A plain name for each file, ending included, such that no two files give outputs of the same name.

    It is the name of the file if no other file has that name, whatever the endings and capitals: ``a/bus.jpg`` and
    ``bus.PNG`` would both write ``bus.txt``. Else it is the path from the folder that those files have in common, with
    ``_`` for separators: ``a_bus.jpg``. If that is taken, too, a number is added: ``bus_2.png``.

    Args:
        paths: The files, in any order; one may come several times.
        reserved: Names without ending, in lower case, that no file may get.
    """
    names = [os.path.basename(path) for path in paths]  # noqa: PTH119 - a hundred thousand of them
    counts = Counter(map(_stem, names))
    same: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        if counts[_stem(name)] > 1 or _stem(name) in reserved:
            same[_stem(name)].append(position)
    taken = {stem for stem in counts if stem not in same}
    for positions in same.values():
        for position, wanted in zip(positions, _from_common([paths[each] for each in positions]), strict=True):
            free = (name for name in _numbered(wanted) if _stem(name) not in taken and _stem(name) not in reserved)
            names[position] = next(free)
            taken.add(_stem(names[position]))
    return names


def stems_of_frames(names: Iterable[str]) -> set[str]:
    """What videos must not be called, so that none of their frames (``clip_7``) is called as one of these images."""
    stems = map(_stem, names)
    return {_FRAME_NUMBER.sub("", stem) for stem in stems if _FRAME_NUMBER.search(stem)}


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()  # noqa: PTH122


def _from_common(paths: Sequence[str]) -> list[str]:
    """The paths from their common folder on, with ``_`` for separators."""
    absolute = [os.path.abspath(path) for path in paths]  # noqa: PTH100
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120
    except ValueError:  # drives of Windows have nothing in common
        return [re.sub(r"[\\/:]+", "_", path) for path in absolute]
    return [os.path.relpath(path, common).replace(os.sep, "_") for path in absolute]


def _numbered(name: str) -> Iterator[str]:
    """The name, then with 2, 3 … at the end of its stem."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return chain([name], (f"{stem}_{number}{ending}" for number in count(2)))
