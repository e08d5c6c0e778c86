"""A data set whose objects are all of one class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.base import DatasetIdentity, DetectionDataset

__all__ = ["SingleClass"]


class SingleClass(DetectionDataset):
    """A data set seen as one of a single class: every label is 0, as YOLOv5 does with ``--single-cls``.

    The class is named ``object``, unless the data has exactly one name, which is kept.

    Args:
        dataset: Any data set.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        names = tuple(dataset.class_names)
        self.dataset = dataset
        self.class_names = names if len(names) == 1 else ("object",)
        self.policy = getattr(dataset, "policy", "warn")

    def __len__(self) -> int:
        return len(self.dataset)

    def path(self, index: int) -> str:
        """File of an image."""
        return self.dataset.path(index)

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.dataset.image_size(index)

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels, and zeros (n,)."""
        boxes, labels = self.dataset.annotations(index)
        return boxes, np.zeros_like(labels)

    def outlines(self, index: int) -> list[npt.NDArray[np.float32]]:
        """Outline (k, 2) of each box."""
        return self.dataset.outlines(index)

    def identity(self) -> DatasetIdentity | None:
        """That of the images, which are the same."""
        return self.dataset.identity()

    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        """The image, RGB (H, W, 3)."""
        return self.dataset.read_image(index, long_side)
