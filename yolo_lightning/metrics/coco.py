"""The COCO reading: average precision and recall, equal to those of pycocotools.

https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.matching import (
    BoolArray,
    CandidatePairs,
    EvaluationData,
    FloatArray,
    IntArray,
    rank_in_group,
)

__all__ = [
    "AREA_RANGES",
    "IOU_THRESHOLDS",
    "MAX_DETECTIONS",
    "RECALLS",
    "COCOMatches",
    "COCOTable",
    "average_precision",
    "coco_metrics",
    "coco_table",
    "counted_targets",
    "match_detections",
]

IOU_THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
"""Overlaps at which a detection counts as right; all means over thresholds run over these ten."""
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Object areas in square pixels, both ends included."""
MAX_DETECTIONS = (1, 10, 100)
"""Detections of one image and class that count, best first. Average precision uses the last."""

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read."""

_BOUNDS = np.array(list(AREA_RANGES.values()))


@dataclass(frozen=True)
class COCOMatches:
    """Which detections count as right and which as wrong; what COCO ignores is neither.

    Args:
        hits: (K, IoU thresholds, areas) whether a detection is right.
        misses: (K, IoU thresholds, areas) whether it is wrong.
        pairs: Overlaps of detections and labels of the same class.
        chosen: (P, IoU thresholds, areas) whether the detection of a pair takes its label, one to ignore included.
    """

    hits: BoolArray
    misses: BoolArray
    pairs: CandidatePairs
    chosen: BoolArray


@dataclass(frozen=True)
class COCOTable:
    """What COCO's numbers are means of; NaN where a class has no label of that area.

    Args:
        average_precision: (classes, 10 IoU thresholds, 4 areas), at 100 detections.
        recall: (classes, 10 IoU thresholds, 4 areas, 3 numbers of detections).
    """

    average_precision: FloatArray
    recall: FloatArray


def coco_metrics(data: EvaluationData, pairs: CandidatePairs) -> dict[str, float | FloatArray]:
    """COCO's twelve numbers and the average precision of each class.

    Args:
        data: Detections and labels.
        pairs: All overlaps of at least .5.

    Returns:
        ``map``, ``map_50``, ``map_75``, ``map_small``, ``map_medium``, ``map_large``, ``mar_1``, ``mar_10``,
        ``mar_100``, ``mar_small``, ``mar_medium``, ``mar_large``: −1 where there is no label to find, as COCO has it.
        ``map_per_class``, ``map_50_per_class``: (classes,), NaN where a class has no label.
    """
    table = coco_table(data, pairs)
    precision, recall = table.average_precision, table.recall
    return {
        "map": _mean(precision[:, :, 0]),
        "map_50": _mean(precision[:, 0, 0]),
        "map_75": _mean(precision[:, 5, 0]),
        **{f"map_{name}": _mean(precision[:, :, area]) for area, name in enumerate(AREA_RANGES) if area},
        **{f"mar_{number}": _mean(recall[:, :, 0, i]) for i, number in enumerate(MAX_DETECTIONS)},
        **{f"mar_{name}": _mean(recall[:, :, area, -1]) for area, name in enumerate(AREA_RANGES) if area},
        "map_per_class": precision[:, :, 0].mean(axis=1),
        "map_50_per_class": precision[:, 0, 0],
    }


def coco_table(data: EvaluationData, pairs: CandidatePairs) -> COCOTable:
    """Average precision and recall for each class, IoU threshold, area and number of detections."""
    num_targets = _count_targets(data)
    ranks = rank_in_group(data.image_index * data.num_classes + data.labels)
    matches = match_detections(data, pairs, ranks=ranks)
    hits, misses = matches.hits, matches.misses
    shape = (data.num_classes, len(IOU_THRESHOLDS), len(AREA_RANGES))
    table = COCOTable(np.full(shape, np.nan), np.full((*shape, len(MAX_DETECTIONS)), np.nan))
    order = np.lexsort((-data.scores, data.labels))
    order = order[ranks[order] < MAX_DETECTIONS[-1]]
    bounds = np.searchsorted(data.labels[order], np.arange(data.num_classes + 1))
    for label in np.flatnonzero(num_targets[:, 0]).tolist():
        rows = order[bounds[label] : bounds[label + 1]]
        for area in np.flatnonzero(num_targets[label]).tolist():
            found, count = hits[rows, :, area], num_targets[label, area]
            table.average_precision[label, :, area] = average_precision(found, misses[rows, :, area], count)
            for i, number in enumerate(MAX_DETECTIONS):
                table.recall[label, :, area, i] = found[ranks[rows] < number].sum(axis=0) / count
    return table


def match_detections(
    data: EvaluationData,
    pairs: CandidatePairs,
    iou_thresholds: FloatArray = IOU_THRESHOLDS,
    areas: FloatArray = _BOUNDS,
    *,
    ranks: IntArray | None = None,
) -> COCOMatches:
    """Matches detections with labels as COCO does.

    Args:
        data: Detections and labels.
        pairs: All overlaps of at least the lowest threshold.
        iou_thresholds: Overlaps from which on a detection can be right.
        areas: (areas, 2) lowest and highest area of the labels that count.
        ranks: (K,) position of each detection among those of its image and class, if known.
    """
    if ranks is None:
        ranks = rank_in_group(data.image_index * data.num_classes + data.labels)
    taking_part = ranks < MAX_DETECTIONS[-1]
    eligible = data.labels[pairs.detections] == data.target_labels[pairs.targets]
    eligible &= taking_part[pairs.detections]
    pairs, chosen = _match(data, pairs.where(eligible), ranks, iou_thresholds, areas)
    matched, ignored = np.zeros((2, len(data.scores), *chosen.shape[1:]), dtype=np.bool_)
    is_first = np.diff(pairs.detections, prepend=-1) != 0
    first, owners = np.flatnonzero(is_first), pairs.detections[is_first]
    if len(first):
        target_ignored = ~counted_targets(data, areas)[pairs.targets][:, None, :]
        matched[owners] = np.logical_or.reduceat(chosen, first, axis=0)
        ignored[owners] = np.logical_or.reduceat(chosen & target_ignored, first, axis=0)
    ignored |= ~matched & _outside(data.areas, areas)[:, None, :]
    ignored |= ~taking_part[:, None, None]
    return COCOMatches(matched & ~ignored, ~matched & ~ignored, pairs, chosen)


def _match(
    data: EvaluationData, pairs: CandidatePairs, ranks: IntArray, iou_thresholds: FloatArray, areas: FloatArray
) -> tuple[CandidatePairs, BoolArray]:
    """COCO's greedy matching: which detections take which label; the pairs in the order of the decisions.

    Best first, each detection takes the free label of its class that it overlaps most; labels to ignore come after all
    others. The groups (image, class) do not touch each other, so the first detections of all groups choose at once,
    then all second ones, and so on.
    """
    order = np.lexsort((pairs.targets, pairs.ious, pairs.detections, ranks[pairs.detections]))
    pairs = CandidatePairs(pairs.detections[order], pairs.targets[order], pairs.ious[order])
    crowd = data.target_crowd[:, None, None]
    target_counts = counted_targets(data, areas)
    # Within a detection: the higher overlap wins, then the later label; any label that counts beats the ignored ones.
    preference = 1 + rank_in_group(pairs.detections)
    beats_ignored = 1 + int(preference.max(initial=0))
    chosen = np.zeros((len(preference), len(iou_thresholds), len(areas)), dtype=np.bool_)
    taken = np.zeros((len(data.target_labels), *chosen.shape[1:]), dtype=np.bool_)
    cuts = np.flatnonzero(np.diff(ranks[pairs.detections])) + 1
    for rows in np.split(np.arange(len(preference)), cuts) if len(preference) else []:
        detections, targets = pairs.detections[rows], pairs.targets[rows]
        possible = (crowd[targets] | ~taken[targets]) & (pairs.ious[rows, None] >= iou_thresholds)[:, :, None]
        values = (preference[rows, None] + beats_ignored * target_counts[targets])[:, None, :] * possible
        is_first = np.diff(detections, prepend=-1) != 0
        best = np.maximum.reduceat(values, np.flatnonzero(is_first), axis=0)
        chosen[rows] = possible & (values == best[np.cumsum(is_first) - 1])
        taken[targets] |= chosen[rows]
    return pairs, chosen


def average_precision(hits: BoolArray, misses: BoolArray, num_targets: int) -> FloatArray:
    """Mean precision over 101 recalls for each threshold.

    Args:
        hits: (M, IoU thresholds) whether a detection of the class is right, best first.
        misses: (M, IoU thresholds) whether it is wrong.
        num_targets: Labels of the class, 1 or more.
    """
    num_hits = hits.cumsum(axis=0)
    precision = num_hits / (num_hits + misses.cumsum(axis=0) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    # Beyond the highest recall that is reached the precision is 0.
    envelope = np.concatenate((envelope, np.zeros((1, hits.shape[1]))))
    recall = num_hits / num_targets
    columns = range(hits.shape[1])
    return np.array([envelope[np.searchsorted(recall[:, i], RECALLS), i].mean() for i in columns])


def counted_targets(data: EvaluationData, areas: FloatArray = _BOUNDS) -> BoolArray:
    """(N, areas) whether a label counts: it marks no crowd, and its area lies in the range."""
    result: BoolArray = ~(data.target_crowd[:, None] | _outside(data.target_areas, areas))
    return result


def _count_targets(data: EvaluationData) -> IntArray:
    """(classes, areas) number of labels that count."""
    counted = counted_targets(data)
    per_area = [np.bincount(data.target_labels[column], minlength=data.num_classes) for column in counted.T]
    return np.stack(per_area, axis=1)


def _outside(areas: FloatArray, bounds: FloatArray) -> BoolArray:
    """(…, areas) whether an area lies outside the range."""
    result: BoolArray = (areas[:, None] < bounds[:, 0]) | (areas[:, None] > bounds[:, 1])
    return result


def _mean(values: FloatArray) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else -1.0
