"""From detections in overlapping tiles to those of the image.

A tile shows a part of the image, and a box that ends at an inner side of its tile is perhaps cut there. So each
detection knows the object in some region only: its tile, without end on the sides where the box is not cut, because
there the object ends inside the tile. Two detections can be compared where both know their object, and there the parts
of one object are the same.

Letters of shapes: N detections, in descending score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

import torch
from torch import Tensor

from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

__all__ = ["Tile", "stitch"]

Tile = tuple[int, int, int, int]

# A box that ends so near to a side of its tile, as a part of the tile, is cut there: networks do not hit it exactly.
_MARGIN = 0.02
# Rows of the table of all pairs that are computed at once.
_ROWS = 512


@dataclass(frozen=True)
class _Parts:
    """Detections with what they know.

    Args:
        boxes: (N, 4) xyxy pixels.
        scores: (N,) descending.
        labels: (N,).
        known: (N, 4) region in which a detection knows its object; ±inf where the box is not cut.
        tiles: (N,) number of the tile; none are equal after stitching.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    known: Tensor
    tiles: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@torch.no_grad()
def stitch(found: Sequence[Detections], tiles: Sequence[Tile], size: tuple[int, int], postprocess: NMS) -> Detections:
    """Joins the detections of the tiles of an image.

    Detections in different tiles are one object if they have the same class and, where both know the object, their
    boxes overlap by more than the IoU threshold of ``postprocess``. Its box is the best that is not cut, else the union
    of the parts, and its score the best. In the end objects suppress each other as in any image, and a remnant whose
    rest no tile found goes if it lies in a better object.

    Args:
        found: Detections of each tile, in pixels of the image, each free of duplicates.
        tiles: (left, top, right, bottom) of each in pixels; a tile may be the whole image.
        size: Height and width of the image in pixels.
        postprocess: IoU threshold, whether classes matter, and most detections.

    Returns:
        Detections of the image by descending score, on the device of ``found``.
    """
    device = found[0].boxes.device
    parts = _parts([each.to("cpu") for each in found], tiles, size)
    agnostic, threshold = postprocess.class_agnostic, postprocess.iou_threshold
    objects = _join(parts, _groups(parts, _pairs(parts, threshold, agnostic, inside=False)))
    kept = _survivors(objects, _pairs(objects, threshold, agnostic, inside=True))[: postprocess.max_detections]
    return Detections(objects.boxes[kept], objects.scores[kept], objects.labels[kept]).to(device)


def _parts(found: Sequence[Detections], tiles: Sequence[Tile], size: tuple[int, int]) -> _Parts:
    """The detections of all tiles, clipped to the inner sides of their tiles."""
    numbers = torch.repeat_interleave(torch.arange(len(found)), torch.tensor([len(each) for each in found]))
    boxes, scores = torch.cat([each.boxes for each in found]), torch.cat([each.scores for each in found])
    labels = torch.cat([each.labels for each in found])
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels, numbers = boxes[order], scores[order], labels[order], numbers[order]
    exact = torch.tensor(tiles, dtype=boxes.dtype)
    # Nothing is cut at the borders of the image.
    border = torch.tensor([0, 0, size[1], size[0]], dtype=boxes.dtype)
    inner = torch.where(exact == border, _EVERYWHERE, exact)[numbers]
    margin = _MARGIN * (exact[:, 2:] - exact[:, :2]).repeat(1, 2)[numbers]
    boxes = _clip(boxes, inner)
    known = torch.where((boxes - inner).abs() <= margin, inner, _EVERYWHERE)
    return _Parts(boxes, scores, labels, known, numbers)


_EVERYWHERE = torch.tensor([-inf, -inf, inf, inf])


def _clip(boxes: Tensor, regions: Tensor) -> Tensor:
    """The parts of boxes (..., 4) that lie in regions (..., 4); of no size where none does."""
    low = torch.maximum(boxes[..., :2], regions[..., :2])
    return torch.cat((low, torch.maximum(low, torch.minimum(boxes[..., 2:], regions[..., 2:]))), dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def _pairs(parts: _Parts, threshold: float, agnostic: bool, inside: bool) -> list[list[tuple[int, float]]]:
    """For each detection those of the same class, but of another tile, that overlap it by more than the threshold.

    Args:
        parts: The detections.
        threshold: Overlap is IoU in the region that both know.
        agnostic: Whether classes do not matter.
        inside: Overlap of a detection that is cut is the part of it that lies in the other.

    Returns:
        Number and overlap of each partner.
    """
    partners: list[list[tuple[int, float]]] = [[] for _ in range(len(parts))]
    for first in range(0, len(parts), _ROWS):
        rows = slice(first, first + _ROWS)
        zone = _clip(parts.known[rows, None], parts.known[None])
        mine, other = _clip(parts.boxes[rows, None], zone), _clip(parts.boxes[None], zone)
        shared = _area(_clip(mine, other))
        total = _area(mine) + _area(other) - shared
        if inside:
            is_cut = parts.known[rows].isfinite().any(-1)[:, None]
            total = torch.where(is_cut, _area(mine).expand_as(total), total)
        overlap = shared / total.clamp(min=1e-7)
        related = (overlap > threshold) & (parts.tiles[rows, None] != parts.tiles)
        if not agnostic:
            related &= parts.labels[rows, None] == parts.labels
        for row, column in related.nonzero().tolist():
            partners[first + row].append((column, float(overlap[row, column])))
    return partners


def _groups(parts: _Parts, partners: Sequence[Sequence[tuple[int, float]]]) -> list[list[int]]:
    """Detections of each object, at most one of a tile, the best one first.

    Starts with the best detection that is left, and adds the partner of the group that fits best, by score times
    overlap, until there is none.
    """
    scores, tiles = parts.scores.tolist(), parts.tiles.tolist()
    free = [True] * len(parts)
    groups = []
    for leader in range(len(parts)):
        group, seen, candidates = [], set(), [(0.0, leader)] if free[leader] else []
        while candidates:
            _, chosen = heappop(candidates)
            if not free[chosen] or tiles[chosen] in seen:
                continue
            free[chosen] = False
            group.append(chosen)
            seen.add(tiles[chosen])
            for partner, overlap in partners[chosen]:
                heappush(candidates, (-overlap * scores[partner], partner))
        if group:
            groups.append(group)
    return groups


def _join(parts: _Parts, groups: Sequence[Sequence[int]]) -> _Parts:
    """One detection for each group."""
    boxes, known = [], []
    is_cut = parts.known.isfinite().any(-1)
    for group in groups:
        index = torch.tensor(group)
        whole = index[~is_cut[index]]
        low, high = parts.boxes[index, :2].amin(0), parts.boxes[index, 2:].amax(0)
        boxes.append(parts.boxes[whole.min()] if len(whole) else torch.cat((low, high)))
        # A side is known if one of the parts knows it.
        low, high = parts.known[index, :2].amin(0), parts.known[index, 2:].amax(0)
        known.append(torch.cat((low, high)))
    first = torch.tensor([group[0] for group in groups], dtype=torch.long)
    return _Parts(
        torch.stack(boxes) if boxes else parts.boxes,
        parts.scores[first],
        parts.labels[first],
        torch.stack(known) if known else parts.known,
        torch.arange(len(groups)),
    )


def _survivors(objects: _Parts, partners: Sequence[Sequence[tuple[int, float]]]) -> list[int]:
    """Objects that no better one suppresses."""
    kept: list[int] = []
    is_kept = [False] * len(objects)
    for number in range(len(objects)):
        if not any(is_kept[partner] for partner, _ in partners[number]):
            is_kept[number] = True
            kept.append(number)
    return kept
