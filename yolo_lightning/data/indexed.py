"""Image files that were checked and indexed: what data sets on disk have in common, and images without labels."""

from __future__ import annotations

import hashlib
import os
import sys
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.images import apply_orientation, decode_image
from yolo_lightning.data.index import LabelIndex, build_index
from yolo_lightning.data.problems import DataError, Policy, Problem, UnreadableImageError, format_problems
from yolo_lightning.paths import cache_directory

__all__ = ["ImageFiles", "IndexedImages", "is_main_process", "report_problems"]


class IndexedImages(DetectionDataset):
    """Images by the positions of an index, which holds their sizes; subclasses make the index, and add the labels."""

    @property
    @abstractmethod
    def index(self) -> LabelIndex:
        """The index."""

    def __len__(self) -> int:
        return len(self.index)

    def path(self, index: int) -> str:
        """Absolute path of an image."""
        return self.index.path(index)

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels after EXIF orientation."""
        return self.index.size(index)

    def left_out(self) -> Sequence[Problem]:
        """What is wrong with the files that are left out."""
        return [problem for problem in self.index.problems if problem.left_out]

    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        """Decodes an image, RGB (H, W, 3), turned upright once.

        A JPEG at least twice as large as asked for is decoded at a half, quarter or eighth of its size.

        Raises:
            UnreadableImageError: If the file cannot be decoded or has another size than when it was indexed.
        """
        path = self.index.path(index)
        size = self.index.size(index)
        reduction = _reduction(max(size), long_side)
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise UnreadableImageError(path, index, f"cannot be read ({error.strerror})") from error
        image = decode_image(content, reduction)
        if image is None:
            raise UnreadableImageError(path, index, "cannot be decoded")
        image = apply_orientation(image, self.index.orientation(index))
        reduced = tuple(-(-side // reduction) for side in size)
        if image.shape[:2] not in (size, reduced):
            found, expected = f"{image.shape[1]} × {image.shape[0]}", f"{size[1]} × {size[0]}"
            raise UnreadableImageError(path, index, f"is {found} pixels but was {expected} when it was indexed")
        return image


class ImageFiles(IndexedImages):
    """Images without labels, to predict. What was read of the files is kept in the user's cache directory.

    Args:
        paths: Absolute paths.
        name: What these images are called in messages, such as the folder that they are in.
        policy: What to do about bad images: ``warn`` reports them and leaves them out, ``strict`` raises.
        progress: Whether to show a progress bar while files are read for the first time.
    """

    class_names = ()

    def __init__(self, paths: Sequence[str], name: Path, *, policy: Policy = "warn", progress: bool = True) -> None:
        self.paths = paths
        self.name = name
        self.policy = policy
        self.progress = progress

    @cached_property
    def index(self) -> LabelIndex:
        """The images, checked.

        Raises:
            DataError: If none can be used or, under the policy ``strict``, one cannot.
        """
        show = self.progress and is_main_process()
        index = build_index(self.paths, name=f"{self.name}:images", num_classes=None, progress=show)
        report_problems(index, f"{self.name}: bad images", self.name, self.policy)
        if len(index) == 0:
            raise DataError(f"{self.name}: none of the {index.num_files} images can be used")
        return index

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """No boxes (0, 4) and no labels (0,)."""
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def report_problems(index: LabelIndex, title: str, folder: Path, policy: Policy) -> None:
    """Prints what is wrong with the files, in the first process; the full list goes to the cache directory.

    Args:
        index: The files.
        title: What is wrong with what.
        folder: Folder to which the files are shown relative.
        policy: What to do about it.

    Raises:
        DataError: If anything is wrong, under the policy ``strict``.
    """
    problems = index.problems
    if not problems:
        return
    report = _write_report(title, [str(problem) for problem in problems])
    text = format_problems(problems, folder, report=report)
    if policy == "strict":
        raise DataError(f"{title}\n{text}")
    if is_main_process():
        console = Console(file=sys.stderr, highlight=False)
        console.print(f"{title} (paths are relative to its folder)\n{text}", markup=False, soft_wrap=True)


def _reduction(long_side: int, wanted: int | None) -> int:
    """The greatest of 8, 4, 2 by which a side can be divided, rounding up, and still have the wanted length; else 1."""
    if wanted is None:
        return 1
    return next((factor for factor in (8, 4, 2) if -(-long_side // factor) >= wanted), 1)


def _write_report(name: str, lines: list[str]) -> Path | None:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    file = cache_directory() / "labels" / f"{digest}.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([name, *lines, ""]), encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return file


def is_main_process() -> bool:
    """Whether this is the first process of the run, also before the processes know of each other."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))
