"""Copy-paste: objects cut out along their outlines and pasted, left for right, at the other side of the canvas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.tiles import Objects

__all__ = ["paste_mirrored"]

Boxes = npt.NDArray[np.float32]

_MAX_COVERED = 0.3


def paste_mirrored(objects: Objects, width: int, fraction: float, generator: np.random.Generator) -> Objects:
    """``objects`` with mirrored copies of some of those that have outlines, as YOLOv5 pastes them.

    A copy lies where the mirror image of the canvas has the object. It is left out if it would cover 30 % or more of
    any object, pasted ones included.

    Args:
        objects: The objects on a canvas.
        width: Width of the canvas in pixels.
        fraction: Share of the objects with outlines to copy, rounded to a whole number of them.
        generator: Draws once which ones, if that is any.
    """
    outlined = np.flatnonzero([len(points) > 0 for points in objects.outlines])
    count = round(fraction * len(outlined))
    if not count:
        return objects
    chosen, boxes = [], objects.boxes
    for number in generator.choice(outlined, count, replace=False).tolist():
        x1, y1, x2, y2 = objects.boxes[number].tolist()
        copy = np.array([width - x2, y1, width - x1, y2], np.float32)
        if x1 < x2 and y1 < y2 and (_covered(boxes, copy) < _MAX_COVERED).all():
            chosen.append(number)
            boxes = np.concatenate([boxes, copy[None]])
    return replace(
        objects,
        boxes=boxes,
        labels=np.concatenate([objects.labels, objects.labels[chosen]]),
        outlines=objects.outlines + [objects.outlines[number] * (-1, 1) + (width, 0) for number in chosen],
        tiles=np.concatenate([objects.tiles, objects.tiles[chosen]]),
        mirrored=np.concatenate([objects.mirrored, np.ones(len(chosen), np.bool_)]),
    )


def _covered(boxes: Boxes, cover: Boxes) -> npt.NDArray[np.float32]:
    """Share of the area of each box (n, 4) that lies under ``cover`` (4,)."""
    sides = np.minimum(boxes[:, 2:], cover[2:]) - np.maximum(boxes[:, :2], cover[:2])
    common = sides.clip(0).prod(1)
    covered: npt.NDArray[np.float32] = common / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    return covered
