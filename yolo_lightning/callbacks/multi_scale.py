"""Training at changing image sizes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from torch.nn.functional import interpolate

from yolo_lightning.types import Batch, ImageInfo

__all__ = ["MultiScale"]


class MultiScale(Callback):
    """Resizes each training batch by a random factor, as YOLOv5 does with ``--multi-scale``.

    The longer side of the image size becomes a multiple of the stride, about evenly spread over the range; the sides of
    the batch are scaled by the same factor and rounded up to multiples of the stride. Images are resized on the device,
    bilinearly. The size is drawn from (seed, epoch, batch), so that all processes and resumed runs agree. Memory must
    suffice for the largest: at 1.5, for 2.25 times the pixels.

    Args:
        minimum: Smallest size as a fraction of the image size.
        maximum: Largest size as a fraction of the image size.

    Raises:
        ValueError: If ``minimum`` is not positive or above ``maximum``.
    """

    def __init__(self, minimum: float = 0.5, maximum: float = 1.5) -> None:
        if not 0 < minimum <= maximum:
            raise ValueError(f"multi-scale runs from {minimum} to {maximum}; it needs 0 < minimum <= maximum")
        self.minimum = minimum
        self.maximum = maximum

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Resizes the batch in place."""
        data = getattr(trainer, "datamodule", None)
        stride = max(getattr(data, "stride", 1), *pl_module.detector.strides)
        nominal = max(getattr(data, "image_size", batch.size))
        seed = getattr(data, "seed", int(os.environ.get("PL_GLOBAL_SEED", "0")))
        # the last number tells this stream from those of the samples
        generator = np.random.default_rng((seed, trainer.current_epoch, batch_idx, 0, 2))
        longer = self._draw(generator, nominal, stride)
        # whole numbers, so that a multiple of the stride stays one
        height, width = (-(-side * longer // (nominal * stride)) * stride for side in batch.size)
        resize(batch, (height, width))

    def _draw(self, generator: np.random.Generator, nominal: int, stride: int) -> int:
        """The longer side in pixels."""
        size = int(generator.integers(int(self.minimum * nominal), int(self.maximum * nominal) + stride))
        return max(1, size // stride) * stride


def resize(batch: Batch, size: tuple[int, int]) -> None:
    """Resizes the images of a batch and its boxes, in place.

    Args:
        batch: Images in floating point.
        size: Height and width in pixels.
    """
    if size == batch.size:
        return
    vertical, horizontal = (new / old for new, old in zip(size, batch.size, strict=True))
    batch.images = interpolate(batch.images, size=size, mode="bilinear", align_corners=False)
    batch.boxes = batch.boxes * batch.boxes.new_tensor([horizontal, vertical, horizontal, vertical])
    batch.infos = [_resized(info, vertical, horizontal) for info in batch.infos]


def _resized(info: ImageInfo, vertical: float, horizontal: float) -> ImageInfo:
    ratio = (info.ratio[0] * vertical, info.ratio[1] * horizontal)
    padding = (info.padding[0] * horizontal, info.padding[1] * vertical)
    return replace(info, ratio=ratio, padding=padding)
