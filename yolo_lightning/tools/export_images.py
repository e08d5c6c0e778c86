"""Images that exports are tried with, and that int8 takes its ranges from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from yolo_lightning.data import YOLODataset
from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.transforms import letterbox
from yolo_lightning.models import Detector

__all__ = ["CANDIDATES", "calibration_batches", "clear_images", "fitted_images"]

CANDIDATES = 16
"""So many images are looked at for some on which the network finds something."""

_SURE = 0.5


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


@torch.inference_mode()
def clear_images(
    detector: Detector, images: DetectionDataset, count: int, image_size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """(count, C, H, W) images on which a network is surest: where it finds nothing, there is little to compare.

    Args:
        detector: In evaluation mode.
        images: The first of these are looked at, until enough have a score above a half.
        count: Images that are wanted; from the first again if there are too few.
        image_size: Height and width in pixels.
    """
    scores: list[float] = []
    for index in range(min(max(CANDIDATES, count), len(images))):
        image = torch.from_numpy(fitted_images(images, [index], image_size)).float() / 255
        scores.append(float(detector.decode(detector(image))[1].max()))
        if sum(score > _SURE for score in scores) >= count:
            break
    best = np.argsort(scores)[::-1].tolist()
    return fitted_images(images, sorted(best[position % len(best)] for position in range(count)), image_size)


def fitted_images(
    images: DetectionDataset, indices: Iterable[int], image_size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """(B, C, H, W) of some images, letterboxed; from the first again if there are too few."""
    fitted = [letterbox(images.read_image(index % len(images)), image_size)[0] for index in indices]
    return np.ascontiguousarray(np.stack(fitted).transpose(0, 3, 1, 2))
