"""Fitting an image to a canvas without distorting it (letterbox), and moving boxes there and back."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.base import DetectionDataset, SampleTransform
from yolo_lightning.types import ImageInfo, Sample, SampleKey

__all__ = [
    "PADDING_VALUE",
    "Letterbox",
    "LetterboxGeometry",
    "fitted_size",
    "letterbox",
    "letterbox_geometry",
    "letterbox_info",
    "to_canvas",
]

PADDING_VALUE = 114
"""Grey level of pixels that no image covers."""

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Size = tuple[int, int]


class LetterboxGeometry(NamedTuple):
    """How an image is fitted to a canvas.

    Attributes:
        ratio: New over old size, the same in both directions.
        resized: Size (height, width) of the image on the canvas.
        padding_wh: Half of the free pixels (across, down), before rounding.
        borders: Free pixels at (top, bottom, left, right).
    """

    ratio: float
    resized: Size
    padding_wh: tuple[float, float]
    borders: tuple[int, int, int, int]

    @property
    def canvas(self) -> Size:
        """Size (height, width) of the result."""
        top, bottom, left, right = self.borders
        return self.resized[0] + top + bottom, self.resized[1] + left + right


def letterbox_geometry(
    size: Size, canvas: Size, *, allow_upscale: bool = True, minimal: bool = False, stride: int = 32
) -> LetterboxGeometry:
    """Fits an image to a canvas with YOLOv5's rounding: sides half to even, an odd pixel to the bottom and right.

    Args:
        size: Size (height, width) of the image.
        canvas: Size (height, width) to fit it to.
        allow_upscale: Whether a smaller image is enlarged.
        minimal: Pads only up to the next multiple of ``stride`` instead of the whole canvas.
        stride: See ``minimal``.

    Raises:
        ValueError: If ``size`` or ``canvas`` is empty.
    """
    if min(*size, *canvas) < 1:
        raise ValueError(f"cannot fit an image of {size[0]}×{size[1]} pixels to a canvas of {canvas[0]}×{canvas[1]}")
    ratio = min(canvas[0] / size[0], canvas[1] / size[1])
    if not allow_upscale:
        ratio = min(ratio, 1.0)
    height, width = (max(1, round(side * ratio)) for side in size)
    free_h, free_w = canvas[0] - height, canvas[1] - width
    if minimal:
        free_h, free_w = free_h % stride, free_w % stride
    half_h, half_w = free_h / 2, free_w / 2
    top, bottom, left, right = (round(half + side) for half in (half_h, half_w) for side in (-0.1, 0.1))
    return LetterboxGeometry(ratio, (height, width), (half_w, half_h), (top, bottom, left, right))


def letterbox(
    image: Image,
    canvas: Size,
    *,
    allow_upscale: bool = True,
    minimal: bool = False,
    stride: int = 32,
    interpolation: int = cv2.INTER_LINEAR,
) -> tuple[Image, LetterboxGeometry]:
    """Resizes ``image`` (h, w, channels) and pads it with grey (114); arguments as in ``letterbox_geometry``."""
    geometry = letterbox_geometry(
        (image.shape[0], image.shape[1]), canvas, allow_upscale=allow_upscale, minimal=minimal, stride=stride
    )
    return _resize_and_pad(image, geometry.resized, geometry.borders, interpolation), geometry


def letterbox_info(info: ImageInfo, ratio: tuple[float, float], canvas: Size) -> ImageInfo:
    """``info`` for an image scaled by ``ratio`` (vertical, horizontal) about the centre of ``canvas``.

    The centre of the image is the centre of the canvas, as YOLOv5 has it; the pixels themselves lie up to half a pixel
    from there, because sides and borders are whole numbers.
    """
    height, width = info.original_size
    padding = ((canvas[1] - width * ratio[1]) / 2, (canvas[0] - height * ratio[0]) / 2)
    return ImageInfo(info.path, info.index, info.original_size, ratio, padding)


def to_canvas(boxes: Boxes, info: ImageInfo) -> Boxes:
    """Boxes (n, 4) of the original image as pixels of the canvas."""
    scale, shift = _axes(info)
    moved: Boxes = (boxes * scale + shift).astype(np.float32)
    return moved


def fitted_size(size: Size, limit: Size) -> Size:
    """Size (height, width) of an image of ``size`` scaled to just fit ``limit``, rounded up as in YOLOv5's loader."""
    ratio = min(limit[0] / size[0], limit[1] / size[1])
    return min(ceil(size[0] * ratio), limit[0]), min(ceil(size[1] * ratio), limit[1])


class Letterbox(SampleTransform):
    """The evaluation transform: an image at its nominal size in the middle of a grey canvas, as YOLOv5 validates.

    The image is scaled to fit ``image_size`` (by area when it shrinks, bilinearly when it grows) and put on the canvas
    of the key, which a rectangular batch makes larger; only a canvas too small for it shrinks it again. Images are read
    at full size, because a reduced decoding changes the detections a little.

    Args:
        image_size: Nominal size, (height, width) or one number for both, in pixels. None fits images to the canvas.
    """

    def __init__(self, image_size: int | tuple[int, int] | None = None) -> None:
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else image_size

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        """The image of ``key`` on its canvas, with all of its boxes."""
        image = dataset.read_image(key.index)
        original = dataset.image_size(key.index)
        nominal = self.image_size or key.canvas
        height, width = fitted_size(original, (min(nominal[0], key.canvas[0]), min(nominal[1], key.canvas[1])))
        # The borders of an image that already has its size.
        geometry = letterbox_geometry((height, width), key.canvas, allow_upscale=False)
        shrinks = height < image.shape[0] or width < image.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = _resize_and_pad(image, geometry.resized, geometry.borders, interpolation)
        ratio = (height / original[0], width / original[1])
        info = letterbox_info(ImageInfo(dataset.path(key.index), key.index, original), ratio, key.canvas)
        boxes, labels = dataset.annotations(key.index)
        canvas_h, canvas_w = key.canvas
        corner = np.array([canvas_w, canvas_h, canvas_w, canvas_h], np.float32)
        return Sample(image, np.clip(to_canvas(boxes, info), 0, corner), labels.copy(), info)


def _resize_and_pad(image: Image, size: Size, borders: tuple[int, int, int, int], interpolation: int) -> Image:
    if image.shape[:2] != size:
        image = cv2.resize(image, (size[1], size[0]), interpolation=interpolation).astype(np.uint8, copy=False)
    top, bottom, left, right = borders
    out = np.full((size[0] + top + bottom, size[1] + left + right, image.shape[2]), PADDING_VALUE, np.uint8)
    out[top : top + size[0], left : left + size[1]] = image
    return out


def _axes(info: ImageInfo) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and shift of (x, y, x, y)."""
    vertical, horizontal = info.ratio
    return np.array([horizontal, vertical] * 2), np.array([*info.padding] * 2)
