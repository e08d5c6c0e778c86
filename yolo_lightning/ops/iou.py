"""Overlap of pairs of boxes: IoU and its generalised, distance and complete forms."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["IoUKind", "iou"]

IoUKind = Literal["iou", "giou", "diou", "ciou"]


def iou(
    boxes1: Tensor,
    boxes2: Tensor,
    kind: IoUKind = "iou",
    eps: float = 1e-7,
    fmt: Literal["xyxy", "cxcywh"] = "xyxy",
) -> Tensor:
    """Overlap of each box with its partner, with gradients to both.

    Args:
        boxes1: (..., 4) floating-point boxes in any unit.
        boxes2: (..., 4) in the same unit, broadcast against ``boxes1``.
        kind: ``"iou"``; ``"giou"`` (https://arxiv.org/abs/1902.09630); ``"diou"`` or ``"ciou"``
            (https://arxiv.org/abs/1911.08287; the weight of the aspect term carries no gradient).
        eps: Keeps the divisions finite; added as YOLOv5 does.
        fmt: Form of both boxes; widths of the centre form are used as they are, free of rounding.

    Returns:
        (...) overlap: 0…1 for IoU; the other kinds are not larger than IoU and above −2.

    Raises:
        ValueError: If ``kind`` or ``fmt`` is unknown.
    """
    if kind not in ("iou", "giou", "diou", "ciou"):
        raise ValueError(f"unknown kind of IoU {kind!r}; choose iou, giou, diou or ciou")
    low1, high1, (w1, h1) = _edges(boxes1, fmt)
    low2, high2, (w2, h2) = _edges(boxes2, fmt)
    overlap_w, overlap_h = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).unbind(-1)
    intersection = overlap_w * overlap_h
    union = w1 * h1 + w2 * h2 - intersection + eps
    overlap = intersection / union
    if kind == "iou":
        return overlap
    enclosing = torch.maximum(high1, high2) - torch.minimum(low1, low2)
    if kind == "giou":
        area = enclosing[..., 0] * enclosing[..., 1] + eps
        return overlap - (area - union) / area
    distance = (low2 + high2 - low1 - high1).square().sum(-1) / 4 / (enclosing.square().sum(-1) + eps)
    if kind == "diou":
        return overlap - distance
    # Heights of zero would make the gradient NaN; no real box is as flat as eps.
    aspect1, aspect2 = torch.atan(w1 / h1.clamp(min=eps)), torch.atan(w2 / h2.clamp(min=eps))
    aspect = (4 / math.pi**2) * (aspect2 - aspect1).square()
    with torch.no_grad():
        weight = aspect / (aspect - overlap + (1 + eps))
    return overlap - (distance + aspect * weight)


def _edges(boxes: Tensor, fmt: str) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Top left and bottom right corners (..., 2); width and height (...)."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if fmt == "xyxy":
        width, height = (second - first).unbind(-1)
        return first, second, (width, height)
    if fmt == "cxcywh":
        low, high = first - second / 2, first + second / 2
        width, height = second.unbind(-1)
        return low, high, (width, height)
    raise ValueError(f"unknown form of boxes {fmt!r}; choose xyxy or cxcywh")
