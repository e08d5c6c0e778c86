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
from typing import Literal

import torch
from torch import Tensor

from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

__all__ = ["Tile", "stitch"]

Tile = tuple[int, int, int, int]
_Pairs = list[tuple[int, int, float]]  # numbers of the better and of the worse detection, overlap

# A box that ends so near to a side of its tile, as a part of the tile, is cut there: networks do not hit it exactly.
_MARGIN = 0.02
# Rows of the table of all pairs that are computed at once.
_ROWS = 1024


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
    threshold, agnostic = postprocess.iou_threshold, postprocess.class_agnostic
    objects = _join(parts, _groups(parts, _pairs(parts, threshold, agnostic)))
    kept = _survivors(len(objects), _pairs(objects, threshold, agnostic, inside=True))[: postprocess.max_detections]
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


def _pairs(parts: _Parts, threshold: float, agnostic: bool, inside: bool = False) -> _Pairs:
    """Pairs of one class, but of different tiles, that overlap by more than the threshold.

    Args:
        parts: The detections.
        threshold: Overlap is IoU in the region that both know.
        agnostic: Whether classes do not matter.
        inside: If the worse one is cut, overlap is the part of it that lies in the better one.
    """
    first, second = _touching(parts, agnostic)
    zone = _clip(parts.known[first], parts.known[second])
    better, worse = _clip(parts.boxes[first], zone), _clip(parts.boxes[second], zone)
    shared = _area(_clip(better, worse))
    total = _area(better) + _area(worse) - shared
    if inside:
        total = torch.where(parts.known[second].isfinite().any(-1), _area(worse), total)
    overlap = shared / total.clamp(min=1e-7)
    chosen = overlap > threshold
    return list(zip(first[chosen].tolist(), second[chosen].tolist(), overlap[chosen].tolist(), strict=True))


def _touching(parts: _Parts, agnostic: bool) -> tuple[Tensor, Tensor]:
    """Numbers of all pairs of one class and different tiles whose boxes share some area; the better one first."""
    pairs = []
    labels = torch.zeros_like(parts.labels) if agnostic else parts.labels
    for label in torch.unique(labels):
        own = (labels == label).nonzero()[:, 0]
        for rows in torch.split(own, _ROWS):
            left, top, right, bottom = parts.boxes[rows, :, None].unbind(1)
            lefts, tops, rights, bottoms = parts.boxes[own].unbind(1)
            touching = (left < rights) & (lefts < right) & (top < bottoms) & (tops < bottom)
            touching &= (parts.tiles[rows, None] != parts.tiles[own]) & (rows[:, None] < own)
            row, column = touching.nonzero(as_tuple=True)
            pairs.append(torch.stack((rows[row], own[column])))
    first, second = torch.cat(pairs, 1) if pairs else torch.zeros(2, 0, dtype=torch.long)
    return first, second


def _groups(parts: _Parts, pairs: _Pairs) -> Tensor:
    """Number of the object of each detection; an object has one of a tile at most, and its best one comes first.

    Starts with the best detection that is left, and adds the partner of the group that fits best, by score times
    overlap, until there is none.
    """
    scores, tiles = parts.scores.tolist(), parts.tiles.tolist()
    partners: list[list[tuple[float, int]]] = [[] for _ in scores]
    for first, second, overlap in pairs:
        partners[first].append((-overlap * scores[second], second))
        partners[second].append((-overlap * scores[first], first))
    group = [-1] * len(scores)
    number = 0
    for leader in range(len(scores)):
        if group[leader] >= 0:
            continue
        seen, candidates = set(), [(0.0, leader)]
        while candidates:
            _, chosen = heappop(candidates)
            if group[chosen] < 0 and tiles[chosen] not in seen:
                group[chosen] = number
                seen.add(tiles[chosen])
                for candidate in partners[chosen]:
                    heappush(candidates, candidate)
        number += 1
    return torch.tensor(group, dtype=torch.long)


def _join(parts: _Parts, group: Tensor) -> _Parts:
    """One detection for each group, the best first."""
    num_groups = int(group.max()) + 1 if len(group) else 0
    number = torch.arange(len(group))
    best = _reduce(number, group, num_groups, "amin")
    is_whole = ~parts.known.isfinite().any(-1)
    best_whole = _reduce(torch.where(is_whole, number, len(group)), group, num_groups, "amin")
    boxes, known = (  # a side is known if one of the parts knows it
        torch.cat((_reduce(low, group, num_groups, "amin"), _reduce(high, group, num_groups, "amax")), dim=-1)
        for low, high in (torch.split(parts.boxes, 2, -1), torch.split(parts.known, 2, -1))
    )
    has_whole = best_whole < len(group)
    boxes[has_whole] = parts.boxes[best_whole[has_whole]]
    return _Parts(boxes, parts.scores[best], parts.labels[best], known, torch.arange(num_groups))


def _reduce(values: Tensor, group: Tensor, num_groups: int, how: Literal["amin", "amax"]) -> Tensor:
    """Least or largest value (..., K) of each group."""
    index = group.view(-1, *(1,) * (values.ndim - 1)).expand_as(values)
    return values.new_zeros(num_groups, *values.shape[1:]).scatter_reduce(0, index, values, how, include_self=False)


def _survivors(num_objects: int, pairs: _Pairs) -> list[int]:
    """Objects that no better one suppresses, the best first."""
    better: list[list[int]] = [[] for _ in range(num_objects)]
    for first, second, _ in pairs:
        better[second].append(first)
    is_kept: list[bool] = []
    for rivals in better:
        is_kept.append(not any(is_kept[rival] for rival in rivals))
    return [number for number, kept in enumerate(is_kept) if kept]
