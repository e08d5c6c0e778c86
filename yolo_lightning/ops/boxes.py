"""Box geometry as pure functions of tensors shaped (..., 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_lightning.types import ImageInfo

__all__ = ["clip_boxes", "cxcywh_to_xyxy", "to_original", "xyxy_to_cxcywh"]


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and size.

    Args:
        boxes: (..., 4) floating-point corners (left, top, right, bottom), in any unit.

    Returns:
        (..., 4) centre x, centre y, width, height in the same unit and dtype.
    """
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), dim=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Centre and size to corners; the inverse of :func:`xyxy_to_cxcywh`.

    Args:
        boxes_cxcywh: (..., 4) floating-point centre x, centre y, width, height, in any unit.

    Returns:
        (..., 4) left, top, right, bottom in the same unit and dtype.
    """
    centre, half_size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat((centre - half_size, centre + half_size), dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Moves every corner that lies outside an image onto its border.

    Args:
        boxes: (..., 4) xyxy pixels.
        size: Height and width of the image in pixels.

    Returns:
        A new tensor (..., 4) with x in 0…width and y in 0…height.
    """
    height, width = size
    return torch.stack(
        (
            boxes[..., 0].clamp(0, width),
            boxes[..., 1].clamp(0, height),
            boxes[..., 2].clamp(0, width),
            boxes[..., 3].clamp(0, height),
        ),
        dim=-1,
    )


def to_original(boxes: Tensor, info: ImageInfo) -> Tensor:
    """Maps boxes from the canvas that the network saw back to the original image.

    Args:
        boxes: (..., 4) xyxy pixels of the canvas.
        info: How the image was fitted to the canvas.

    Returns:
        A new tensor (..., 4) xyxy pixels of the original image, clipped to it.
    """
    (vertical, horizontal), (left, top) = info.ratio, info.padding
    x, y = (boxes[..., 0::2] - left) / horizontal, (boxes[..., 1::2] - top) / vertical
    return clip_boxes(torch.stack((x, y), dim=-1).flatten(-2), info.original_size)
