"""Pictures as the network wants them: fitted to a canvas, of one size in a batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.data.checks import round_up
from yolo_lightning.data.transforms import letterbox, letterbox_info
from yolo_lightning.types import ImageInfo

__all__ = ["as_size", "fit_image", "stack_images"]

Size = tuple[int, int]


def as_size(size: int | Sequence[int], stride: int) -> Size:
    """(height, width) of a size given as one number or both, rounded up to multiples of the stride with a warning.

    Raises:
        ValueError: If it is neither, or not positive.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"size is {size!r}: give a positive number of pixels, or (height, width)")
    rounded, message = round_up(sides, stride)
    if message is not None:
        warnings.warn(message, stacklevel=2)
    return rounded


def fit_image(
    image: npt.NDArray[np.uint8], size: Size | None, stride: int, path: str = ""
) -> tuple[npt.NDArray[np.uint8], ImageInfo]:
    """Scales an image to fit a size and pads it to multiples of the stride, as YOLOv5's ``detect.py`` does.

    Args:
        image: (H, W, C) uint8.
        size: Height and width that it is scaled to just fit, up or down; None keeps its scale.
        stride: Sides of the result are multiples of it.
        path: For the info.

    Returns:
        The padded image, and how it was fitted.
    """
    original = (image.shape[0], image.shape[1])
    if size is None:
        size = (math.ceil(original[0] / stride) * stride, math.ceil(original[1] / stride) * stride)
        fitted, geometry = letterbox(image, size, allow_upscale=False)
    else:
        fitted, geometry = letterbox(image, size, minimal=True, stride=stride)
    info = letterbox_info(ImageInfo(path, 0, original), (geometry.ratio, geometry.ratio), geometry.canvas)
    return fitted, info


def stack_images(images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """(B, C, H, W) uint8 in channels-last memory, of images of equal size; a single one is not copied."""
    stacked = images[0][None] if len(images) == 1 else np.stack(images)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)
