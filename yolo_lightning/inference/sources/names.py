"""Names of outputs, so that no output is called as another."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count
from unicodedata import normalize

from yolo_lightning.inference.pictures import file_stem
from yolo_lightning.paths import safe_name

__all__ = ["stems_of_frames", "unique_names"]

_MOST_BYTES = 180  # of the 200 that a safe name may have
_FRAME_NUMBER = re.compile(r"_\d+$")


def unique_names(paths: Sequence[str], reserved: Collection[str] = ()) -> list[str]:
    """A plain name for each file, ending included, such that no two files give outputs of the same name.

    It is the name of the file if no other file has that name, whatever the endings and capitals: ``a/bus.jpg`` and
    ``bus.PNG`` would both write ``bus.txt``. Else it is the path from the folder that those files have in common, with
    ``_`` for separators: ``a_bus.jpg``. If that is taken, too, a number is added: ``bus_2.png``. Names are compared as
    they are written in the end, with ``_`` for what not all systems allow in a name, and cut if they are very long.

    Args:
        paths: The files, in any order; one may come several times.
        reserved: What no output may be called, as :func:`stems_of_frames` has it.
    """
    names = [os.path.basename(path) for path in paths]  # noqa: PTH119 - a hundred thousand of them
    stems = [_stem(name) for name in names]
    counts = Counter(stems)
    same: dict[str, list[int]] = defaultdict(list)
    for position, stem in enumerate(stems):
        if counts[stem] > 1 or stem in reserved:
            same[stem].append(position)
    taken = {*reserved, *counts.keys() - same.keys()}
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(1))
    for positions in same.values():
        for position, wanted in zip(positions, _from_common([paths[each] for each in positions]), strict=True):
            candidates = (_numbered(wanted, number) for number in numbers[_stem(wanted)])
            names[position] = next(name for name in candidates if _stem(name) not in taken)
            taken.add(_stem(names[position]))
    return names


def stems_of_frames(names: Iterable[str]) -> set[str]:
    """What videos must not be called, so that none of their frames (``clip_7``) is called as one of these images."""
    stems = map(_stem, names)
    return {_FRAME_NUMBER.sub("", stem) for stem in stems if _FRAME_NUMBER.search(stem)}


def _stem(name: str) -> str:
    """What outputs are called, as file systems compare that which ignore case or how accents are encoded."""
    return normalize("NFC", file_stem(name).casefold())


def _from_common(paths: Sequence[str]) -> list[str]:
    """The paths from their common folder on, with ``_`` for separators."""
    absolute = [os.path.abspath(path) for path in paths]  # noqa: PTH100
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120
    except ValueError:  # drives of Windows have nothing in common
        return [re.sub(r"[\\/:]+", "_", path) for path in absolute]
    return [os.path.relpath(path, common).replace(os.sep, "_") for path in absolute]


def _numbered(name: str, number: int) -> str:
    """The name, from 2 on with the number at the end of its stem, where it is not cut off."""
    if number == 1:
        return name
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return f"{safe_name(stem).encode()[:_MOST_BYTES].decode(errors='ignore')}_{number}{ending}"
