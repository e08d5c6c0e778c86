"""Images that exports are tried with, and that int8 takes its ranges from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolo_lightning.data import YOLODataset
from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.transforms import letterbox

__all__ = ["calibration_batches", "fitted_images"]


def calibration_batches(
    data: Path, most: int, image_size: tuple[int, int], batch_size: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Batches (B, C, H, W) of training images, evenly spaced.

    Args:
        data: The data.yaml.
        most: Images that are wanted.
        image_size: Height and width in pixels.
        batch_size: Images in each batch; there is at least one.

    Raises:
        InputError: If the data cannot be read.
    """
    images = YOLODataset(data, "train")
    count = min(most, len(images))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int).tolist()
    for start in range(0, max(len(chosen) - batch_size + 1, 1), batch_size):
        indices = [chosen[index % len(chosen)] for index in range(start, start + batch_size)]
        yield fitted_images(images, indices, image_size)


def fitted_images(
    images: DetectionDataset, indices: Iterable[int], image_size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """(B, C, H, W) of some images, letterboxed; from the first again if there are too few."""
    fitted = [letterbox(images.read_image(index % len(images)), image_size)[0] for index in indices]
    return np.ascontiguousarray(np.stack(fitted).transpose(0, 3, 1, 2))
