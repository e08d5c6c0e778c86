"""What the labels of a data set are like, as counts, which are small however large it is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from yolo_lightning.array_file import Arrays, load_arrays, save_arrays

__all__ = ["LABELS_FILE", "NUM_BINS", "PAIRS", "AnnotatedImages", "LabelStatistics"]

LABELS_FILE = "labels.npz"
"""Name of the file in a run directory."""

NUM_BINS = 64
PAIRS = tuple(itertools.combinations(("x", "y", "width", "height"), 2))
"""Of what there are histograms: the centre and the size of a box, as shares of its image."""

_VERSION = 1
_AT_ONCE = 4096  # images


class AnnotatedImages(Protocol):
    """A data set that tells sizes and boxes of its images without decoding them."""

    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels."""

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels and labels (n,)."""


@dataclass(frozen=True)
class LabelStatistics:
    """Boxes by class, and histograms of two of x, y, width and height each.

    Args:
        class_names: Names of the classes.
        counts: (classes,) boxes of each class.
        histograms: (6, 64, 64) boxes by bins of the first and the second of each of ``PAIRS``, which go from 0 to 1.
        num_images: Number of images.
        num_background: Number of images without boxes.
    """

    class_names: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    histograms: npt.NDArray[np.int64]
    num_images: int
    num_background: int

    @property
    def num_boxes(self) -> int:
        """Number of boxes."""
        return int(self.counts.sum())

    @classmethod
    def collect(cls, images: AnnotatedImages) -> LabelStatistics:
        """Goes through a data set once; no image is decoded."""
        names = tuple(images.class_names)
        counts, histograms = np.zeros(len(names), np.int64), np.zeros((len(PAIRS), NUM_BINS, NUM_BINS), np.int64)
        num_background = 0
        for start in range(0, len(images), _AT_ONCE):
            chosen = range(start, min(start + _AT_ONCE, len(images)))
            annotations = [images.annotations(index) for index in chosen]
            per_image = np.array([len(labels) for _, labels in annotations])
            sizes_wh = np.repeat(np.array([images.image_size(index)[::-1] for index in chosen]), per_image, axis=0)
            boxes = np.concatenate([boxes for boxes, _ in annotations]).astype(np.float64)
            counts += np.bincount(np.concatenate([labels for _, labels in annotations]), minlength=len(names))
            histograms += _histograms(boxes, sizes_wh)
            num_background += int((per_image == 0).sum())
        return cls(names, counts, histograms, len(images), num_background)

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all, in the place of an older one.

        Raises:
            OSError: If it cannot be written.
        """
        meta = {
            "version": _VERSION,
            "class_names": self.class_names,
            "num_images": self.num_images,
            "num_background": self.num_background,
        }
        save_arrays(path, {"counts": self.counts, "histograms": self.histograms}, meta)

    @classmethod
    def load(cls, path: Path) -> LabelStatistics:
        """Reads a file, or that of a run directory.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        file = path / LABELS_FILE if path.is_dir() else path
        return load_arrays(
            file,
            _VERSION,
            cls._from_arrays,
            missing="`yolo-lightning fit` writes it; older runs have none",
            damaged="holds no counts of labels",
        )

    @classmethod
    def _from_arrays(cls, arrays: Arrays, meta: Mapping[str, Any]) -> LabelStatistics:
        names = tuple(map(str, meta["class_names"]))
        counts, histograms = arrays["counts"].astype(np.int64), arrays["histograms"].astype(np.int64)
        if counts.shape != (len(names),) or histograms.shape != (len(PAIRS), NUM_BINS, NUM_BINS):
            raise ValueError(f"{len(names)} classes, but shapes {counts.shape} and {histograms.shape}")
        return cls(names, counts, histograms, int(meta["num_images"]), int(meta["num_background"]))


def _histograms(boxes: npt.NDArray[np.float64], sizes_wh: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(6, 64, 64) of boxes (n, 4) xyxy in images of (n, 2) width and height, in pixels."""
    low, high = boxes[:, :2] / sizes_wh.reshape(-1, 2), boxes[:, 2:] / sizes_wh.reshape(-1, 2)
    shares = np.concatenate([(low + high) / 2, high - low], axis=1)
    bins = np.clip(shares * NUM_BINS, 0, NUM_BINS - 1).astype(np.int64)
    axis = {name: bins[:, column] for column, name in enumerate(("x", "y", "width", "height"))}
    return np.stack([_count_cells(axis[first], axis[second]) for first, second in PAIRS])


def _count_cells(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    cells: npt.NDArray[np.int64] = np.bincount(first * NUM_BINS + second, minlength=NUM_BINS**2)
    return cells.reshape(NUM_BINS, NUM_BINS)
