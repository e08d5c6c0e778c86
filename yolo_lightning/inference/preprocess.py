"""Pictures as the network wants them: fitted to a canvas, of one size in a batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.data.checks import round_up
from yolo_lightning.data.transforms import letterbox, letterbox_info
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame
from yolo_lightning.types import ImageInfo

__all__ = ["PreparedBatch", "PreparedFrames", "as_size", "fit_image", "shown", "stack_images", "with_channels"]

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PreparedBatch:
    """Images fitted to one canvas, ready for the network.

    Args:
        images: (B, C, H, W) uint8 on the CPU.
        infos: How each was fitted.
        positions: Which of the frames each is.
    """

    images: Tensor
    infos: list[ImageInfo]
    positions: list[int]


@dataclass(frozen=True, eq=False)
class PreparedFrames:
    """Frames and the batches that they make.

    Args:
        frames: As they came.
        batches: One for each size of canvas.
        seconds: Time that preparing them took.
    """

    frames: list[Frame]
    batches: list[PreparedBatch]
    seconds: float


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
    image: npt.NDArray[np.uint8], size: Size | None, stride: int, path: str = "", *, whole: bool = False
) -> tuple[npt.NDArray[np.uint8], ImageInfo]:
    """Scales an image to fit a size and pads it to multiples of the stride, as YOLOv5's ``detect.py`` does.

    Args:
        image: (H, W, C) uint8.
        size: Height and width that it is scaled to just fit, up or down; None keeps its scale.
        stride: Sides of the result are multiples of it.
        path: For the info.
        whole: Pads to all of the size, not only to multiples of the stride.

    Returns:
        The padded image, and how it was fitted.
    """
    original = (image.shape[0], image.shape[1])
    if size is None:
        size = (math.ceil(original[0] / stride) * stride, math.ceil(original[1] / stride) * stride)
        fitted, geometry = letterbox(image, size, allow_upscale=False)
    else:
        fitted, geometry = letterbox(image, size, minimal=not whole, stride=stride)
    info = letterbox_info(ImageInfo(path, 0, original), (geometry.ratio, geometry.ratio), geometry.canvas)
    return fitted, info


def stack_images(images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """(B, C, H, W) uint8 in channels-last memory, of images of equal size; a single one is not copied."""
    stacked = images[0][None] if len(images) == 1 else np.stack(images)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def with_channels(frame: Frame, num_channels: int) -> npt.NDArray[np.uint8]:
    """The image with as many channels as the network sees: grey is repeated, transparency dropped."""
    image = frame.image
    found = image.shape[2]
    if found == num_channels:
        return image
    if found == 1:
        return np.repeat(image, num_channels, axis=2)
    if (found, num_channels) == (4, 3):
        return np.ascontiguousarray(image[..., :3])
    if (found, num_channels) == (3, 1):
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
    raise InputError(f"{frame.source} has {found} channels, but the network sees {num_channels}")


def shown(frame: Frame) -> Frame:
    """The frame as a picture that can be drawn on, of three channels."""
    image = frame.image
    if image.shape[2] == 3:
        return frame
    image = np.ascontiguousarray(image[..., :3]) if image.shape[2] > 3 else np.repeat(image[..., :1], 3, axis=2)
    return replace(frame, image=image)
