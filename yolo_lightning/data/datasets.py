"""Data sets on disk, and the map-style data set that the loader's workers read samples from."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from yolo_lightning.data.base import DatasetIdentity, DetectionDataset, SampleTransform
from yolo_lightning.data.config import read_config
from yolo_lightning.data.files import find_images, label_path
from yolo_lightning.data.index import LabelIndex, build_index
from yolo_lightning.data.indexed import IndexedImages, is_main_process, report_problems
from yolo_lightning.data.problems import DataError, Policy, Problem, UnreadableImageError
from yolo_lightning.data.worker_times import WorkerTimes
from yolo_lightning.types import Sample, SampleKey

__all__ = ["TransformedDataset", "YOLODataset"]


class YOLODataset(IndexedImages):
    """One split of a data set in YOLO form: a ``data.yaml``, images, and one text file of labels for each image.

    The yaml is read at once; images and labels are looked for, checked and indexed when they are first needed. Rows of
    a label file are ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …``, normalised to 0…1. An image without a label
    file, or with an empty one, is background. Nothing is ever written into the data set: what was read is kept in the
    user's cache directory (``$YOLO_LIGHTNING_CACHE``).

    Args:
        path: The ``data.yaml``, or a folder that contains one.
        split: ``train``, ``val`` or ``test``.
        policy: What to do about bad images and labels: ``warn`` reports them and leaves those images out, ``strict``
            raises.
        progress: Whether to show a progress bar while files are read for the first time.

    Raises:
        DataError: If there is no ``path`` or it is no valid description of a data set.
    """

    def __init__(self, path: Path | None, split: str, *, policy: Policy = "warn", progress: bool = True) -> None:
        if path is None:
            raise DataError("there is no data: set data.path to a data.yaml, or to a folder that contains one")
        if policy not in ("warn", "strict"):
            raise DataError(f"policy is '{policy}', expected 'warn' or 'strict'")
        self.config = read_config(path)
        self.class_names = self.config.class_names
        self.split = split
        self.policy = policy
        self.progress = progress
        self.has_labels = True

    @cached_property
    def index(self) -> LabelIndex:
        """The labels of the split, checked.

        Raises:
            DataError: If the images are not there, none can be used, a training split has no boxes, or, under the
                policy ``strict``, anything at all is wrong.
        """
        images = find_images(self.config.sources(self.split), self.config.roots())
        show = self.progress and is_main_process()
        num_classes = len(self.class_names) if self.has_labels else None
        index = build_index(images, name=f"{self.config.file}:{self.split}", num_classes=num_classes, progress=show)
        title = f"{self.config.file}: bad data in '{self.split}'"
        report_problems(index, title, self.config.file.parent, self.policy)
        if len(index) == 0:
            raise DataError(f"{self.config.file}: none of the {index.num_files} images of '{self.split}' can be used")
        if self.has_labels and self.split == "train" and index.num_boxes == 0:
            raise DataError(
                f"{self.config.file}: none of the {len(index)} images of 'train' has a label; {index.num_missing} have "
                f"no label file (looked for {label_path(index.path(0))} and so on). Put labels there, in folders "
                "named 'labels' beside those named 'images'"
            )
        return index

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels, clipped to the image, and labels (n,)."""
        boxes_cxcywh, labels = self.index.labels(index)
        height, width = self.index.size(index)
        centre, half = boxes_cxcywh[:, :2].astype(np.float64), boxes_cxcywh[:, 2:].astype(np.float64) / 2
        boxes = np.concatenate((centre - half, centre + half), axis=1).clip(0, 1) * (width, height, width, height)
        return boxes.astype(np.float32), labels.copy()

    def outlines(self, index: int) -> list[npt.NDArray[np.float32]]:
        """The polygon (k, 2) xy in pixels of each row; empty (0, 2) for a row that is a box."""
        height, width = self.index.size(index)
        side_wh = np.array([width, height], np.float32)
        return [points * side_wh if len(points) else points for points in self.index.polygons(index)]

    def without_labels(self) -> Self:
        """The same images without any labels; one whose labels are bad is not left out."""
        images = copy.copy(self)
        images.__dict__.pop("index", None)
        images.has_labels = False
        return images

    def identity(self) -> DatasetIdentity | None:
        """Yaml and split, and the state of the image files; None for a subclass that reads images in its own way."""
        if type(self).read_image is not IndexedImages.read_image:
            return None
        return DatasetIdentity(f"{self.config.file}:{self.split}", self.index.image_digest())


class TransformedDataset(Dataset[Sample | None]):
    """Samples by key, as the workers of a ``DataLoader`` read them.

    Under the policy ``warn`` an image that cannot be read any more gives None instead of a sample; it is reported once,
    whichever worker met it, and counted.

    Args:
        dataset: Images and labels.
        transform: Makes the samples.
        policy: ``warn`` or ``strict``.
    """

    def __init__(self, dataset: DetectionDataset, transform: SampleTransform, policy: Policy = "warn") -> None:
        self.dataset = dataset
        self.transform = transform
        self.policy = policy
        # shared memory, so that all workers count together
        self._unreadable = torch.zeros(len(dataset), dtype=torch.uint8)
        self._unreadable.share_memory_()  # type: ignore[no-untyped-call]
        self.worker_times = WorkerTimes()

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def num_unreadable(self) -> int:
        """Number of images that could not be read during the run."""
        return int(self._unreadable.sum())

    @property
    def unreadable(self) -> list[int]:
        """Positions of the images that could not be read when the workers of this process needed them."""
        return torch.nonzero(self._unreadable).flatten().tolist()

    def path(self, index: int) -> str:
        """File of an image."""
        return self.dataset.path(index)

    def left_out(self) -> Sequence[Problem]:
        """What is wrong with the files that the data set leaves out."""
        return self.dataset.left_out()

    def __getitem__(self, key: SampleKey) -> Sample | None:
        """The sample of a key, or None if an image that it needs cannot be read."""
        try:
            with self.worker_times.measure():
                return self.transform(self.dataset, key)
        except UnreadableImageError as error:
            if self.policy == "strict":
                raise
            if not self._unreadable[error.index]:
                self._unreadable[error.index] = 1
                warnings.warn(f"{error}. Samples that need it are left out", stacklevel=2)
            return None
