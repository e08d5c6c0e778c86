"""Reading image headers and label files in parallel, and telling which files changed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from yolo_lightning.data.files import label_path
from yolo_lightning.data.images import check_image
from yolo_lightning.data.labels import ParsedLabels, parse_labels
from yolo_lightning.data.problems import Problem

__all__ = ["FileKeys", "FileRecord", "file_keys", "scan_files"]

RECENT_SECONDS = 3.0
"""A file that changed this shortly before it was read may change again within one tick of the file system's clock."""

_CHUNK = 256


class FileRecord(NamedTuple):
    """What an image and its label file hold.

    Attributes:
        header: Height, width, orientation, and 1 if the image is used or 0 if it is left out.
        labels: (n,) class indices.
        boxes: (n, 4) normalised boxes in centre form.
        points: (p, 2) polygon corners of all rows.
        point_counts: (n,) corners of each row.
        problems: What is wrong.
    """

    header: tuple[int, ...]
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    point_counts: npt.NDArray[np.int64]
    problems: list[Problem]


@dataclass(frozen=True)
class FileKeys:
    """State of image and label files: (n, 8) size, modification time, change time and inode of each; -1 if missing.

    The change time cannot be set by a program, so an edit shows even if size and modification time are the same.

    Args:
        current: The keys as they are.
        stored: The keys to keep: those of files that changed just now are made invalid (-2), so that they are read
            again next time.
    """

    current: npt.NDArray[np.int64]
    stored: npt.NDArray[np.int64]


def file_keys(images: Sequence[str], labels: Sequence[str]) -> FileKeys:
    """The state of each image and its label file."""
    now = time.time_ns()
    current = np.array([_key(image) + _key(label) for image, label in zip(images, labels, strict=True)], np.int64)
    current = current.reshape(-1, 8)
    recent = current[:, [1, 2, 5, 6]].max(axis=1, initial=-1) > now - int(RECENT_SECONDS * 1e9)
    stored = current.copy()
    stored[recent, 2] = -2
    return FileKeys(current, stored)


_Mapper = Callable[[Callable[[Sequence[str]], list[FileRecord]], Sequence[Sequence[str]]], Iterable[list[FileRecord]]]


def scan_files(
    images: Sequence[str], num_classes: int | None, progress: bool, workers: int | None = None
) -> list[FileRecord]:
    """Checks images and parses their labels, in the order given.

    Args:
        images: Absolute paths.
        num_classes: Class indices must be below it; None leaves labels alone.
        progress: Whether to show a progress bar.
        workers: Processes to use; None takes one per core (eight at most), and none for few files.
    """
    if workers is None:
        workers = 1 if len(images) < 4 * _CHUNK else min(8, os.cpu_count() or 1)
    chunks = [images[begin : begin + _CHUNK] for begin in range(0, len(images), _CHUNK)]
    with _mapper(workers) as mapper:
        results: Iterable[list[FileRecord]] = mapper(partial(_scan_chunk, num_classes=num_classes), chunks)
        if progress and len(images) >= _CHUNK:
            console = Console(stderr=True)
            results = track(results, "Reading labels", total=len(chunks), console=console, transient=True)
        return list(itertools.chain.from_iterable(results))


@contextmanager
def _mapper(workers: int) -> Iterator[_Mapper]:
    if workers <= 1:
        yield map
        return
    # Parsing holds the interpreter's lock: threads would not help. Fork, as other ways run the user's script again.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            yield pool.map


def _scan_chunk(images: Iterable[str], num_classes: int | None) -> list[FileRecord]:
    return [_scan_file(image, num_classes) for image in images]


def _scan_file(image: str, num_classes: int | None) -> FileRecord:
    if not os.path.isfile(image):  # noqa: PTH113
        missing = Problem(image, None, "image_missing", "does not exist", "remove it from the list or restore it")
        return _record((0, 0, 1, 0), ParsedLabels(problems=[missing]))
    header = check_image(image)
    if isinstance(header, Problem):
        return _record((0, 0, 1, 0), ParsedLabels(problems=[header]))
    parsed = ParsedLabels() if num_classes is None else _read_labels(label_path(image), num_classes)
    used = not any(problem.left_out for problem in parsed.problems)
    return _record((*header.size, header.orientation, int(used)), parsed)


def _read_labels(path: str, num_classes: int) -> ParsedLabels:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read()
    except FileNotFoundError:
        return ParsedLabels()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem(path, None, "unreadable_label", f"cannot be read ({reason})", "make it a readable text file")
        return ParsedLabels(problems=[problem])
    return parse_labels(content, path, num_classes)


def _record(header: tuple[int, ...], parsed: ParsedLabels) -> FileRecord:
    return FileRecord(header, parsed.labels, parsed.boxes_cxcywh, parsed.points, parsed.point_counts, parsed.problems)


def _key(path: str) -> tuple[int, int, int, int]:
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return (-1, -1, -1, -1)
    inode = state.st_ino & 0x7FFFFFFFFFFFFFFF
    size = state.st_size if stat.S_ISREG(state.st_mode) else -3
    return (size, state.st_mtime_ns, state.st_ctime_ns, inode)
