"""Finding images that several splits share: the same file, or another one with the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["SharedImage", "shared_images"]

_HEAD = 65536


class SharedImage(NamedTuple):
    """An image that is in several splits.

    Attributes:
        files: Its files, each with its split, in the order of the splits.
        same_file: Whether they are one file, by one name or through links, rather than equal copies.
    """

    files: tuple[tuple[str, str], ...]
    same_file: bool


_Group = list[tuple[str, str]]


def shared_images(splits: Mapping[str, Iterable[str]]) -> list[SharedImage]:
    """Images in more than one split, compared by content; only files of equal size and beginning are read whole.

    Files that cannot be read are passed over.

    Args:
        splits: Paths of the images of each split.
    """
    groups: list[_Group] = [[(split, path) for split, paths in splits.items() for path in dict.fromkeys(paths)]]
    keys: tuple[Callable[[str], Hashable], ...] = (_size, _head, _content)
    for key in keys:
        groups = [part for group in groups for part in _divide(group, key)]
    return [SharedImage(tuple(group), len({_identity(path) for _, path in group}) == 1) for group in groups]


def _divide(group: _Group, key: Callable[[str], Hashable]) -> list[_Group]:
    """The files of equal key, as far as they are in more than one split."""
    parts: dict[Hashable, _Group] = {}
    for split, path in group:
        try:
            parts.setdefault(key(path), []).append((split, path))
        except OSError:
            continue
    return [part for part in parts.values() if len({split for split, _ in part}) > 1]


def _size(path: str) -> int:
    return os.stat(path).st_size  # noqa: PTH116 (a hundred thousand files)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.blake2b(file.read(_HEAD)).digest()


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "blake2b").digest()


def _identity(path: str) -> tuple[int, int]:
    state = os.stat(path)  # noqa: PTH116
    return state.st_dev, state.st_ino
