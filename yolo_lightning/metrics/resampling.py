"""Average precision on samples of the images, each as exact as an evaluation of the images drawn.

Detections are matched with the labels of their own image, so an image that is drawn twice counts twice and nothing else
changes: matching and sorting are done once, and each sample only counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yolo_lightning.metrics.coco import AREA_RANGES, IOU_THRESHOLDS, RECALLS, counted_targets, match_detections
from yolo_lightning.metrics.matching import BoolArray, EvaluationData, FloatArray, IntArray, candidate_pairs
from yolo_lightning.metrics.yolov5 import correct_detections

__all__ = ["FIGURES", "ResampledPrecision", "resample_precision"]

FIGURES = ("map", "map_50", "yolov5_map", "yolov5_map_50", "fitness")
"""What is read from each sample, named as in ``evaluate``."""

_ALL_AREAS = np.array([AREA_RANGES["all"]])
_Int32Array = npt.NDArray[np.int32]

# Detections times samples that are counted at once; bounds the memory, and larger blocks are no faster.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ResampledPrecision:
    """AP of each class on samples of the images; NaN where a sample has no label of the class.

    Args:
        average_precision: (samples, classes) COCO's, mean over ten IoU thresholds.
        average_precision_50: (samples, classes) COCO's at IoU .5.
        yolov5: (samples, classes) YOLOv5's, mean over ten IoU thresholds.
        yolov5_50: (samples, classes) YOLOv5's at IoU .5.
    """

    average_precision: FloatArray
    average_precision_50: FloatArray
    yolov5: FloatArray
    yolov5_50: FloatArray

    @property
    def figures(self) -> dict[str, FloatArray]:
        """(samples,) values of each of ``FIGURES``, means over the classes with labels; NaN without any."""
        parts = (self.average_precision, self.average_precision_50, self.yolov5, self.yolov5_50)
        result = dict(zip(FIGURES, map(_mean_of_classes, parts), strict=False))
        return result | {"fitness": 0.1 * result["yolov5_map_50"] + 0.9 * result["yolov5_map"]}


def resample_precision(data: EvaluationData, counts: IntArray) -> ResampledPrecision:
    """Average precision of sets of images.

    The same as evaluating a set that has each image so many times, but for the order of equal scores of one image and
    class.

    Args:
        data: Detections and labels.
        counts: (samples, images) how often each set has each image.
    """
    pairs = candidate_pairs(data, float(IOU_THRESHOLDS[0]))
    matches = match_detections(data, pairs, areas=_ALL_AREAS)
    found = matches.hits[:, :, 0]
    correct = correct_detections(data, pairs)
    readings = (
        (found, found | matches.misses[:, :, 0], counted_targets(data, _ALL_AREAS)[:, 0], _coco_values),
        (correct, np.ones_like(correct), ~data.target_crowd, _yolov5_values),
    )
    order = np.lexsort((-data.scores, data.labels))
    bounds = np.searchsorted(data.labels[order], np.arange(data.num_classes + 1))
    results = []
    for hits, taking_part, counted, read in readings:
        means, firsts = np.full((2, len(counts), data.num_classes), np.nan)
        for label in np.unique(data.target_labels[counted]).tolist():
            rows = order[bounds[label] : bounds[label + 1]]
            target_images = data.target_image_index[counted & (data.target_labels == label)]
            for block in _blocks(len(counts), max(len(rows), len(RECALLS))):
                num_targets = counts[block][:, target_images].sum(axis=1)
                weights = counts[block][:, data.image_index[rows]].astype(np.int32)
                ranking = _Ranking(weights, hits[rows], taking_part[rows], np.maximum(num_targets, 1))
                values = np.stack([read(ranking.at(i)) for i in range(len(IOU_THRESHOLDS))])
                values[:, num_targets == 0] = np.nan
                means[block, label], firsts[block, label] = values.mean(axis=0), values[0]
        results += [means, firsts]
    return ResampledPrecision(*results)


@dataclass(frozen=True)
class _Curves:
    """What is found and what is wrong at each right detection of a class, in every sample.

    Args:
        ends: (S, F + 1) right detections up to each; the last column repeats the one before.
        wrong: (S, F + 1) wrong detections up to each; the last column has all.
        envelope: (S, F + 1) highest precision at that or any later one, at last 0.
        num_targets: (S,) labels.
    """

    ends: IntArray
    wrong: IntArray
    envelope: FloatArray
    num_targets: IntArray

    def first_with(self, number: IntArray) -> IntArray:
        """(S, Q) column of ``ends`` that is the first with so many found; the last if none has."""
        # One search for all samples: their counts one after the other are ascending.
        beyond = max(int(self.ends.max()), int(number.max())) + 1
        starts = np.arange(len(self.ends))[:, None] * (beyond + 1)
        keys = self.ends + starts
        keys[:, -1] = starts[:, 0] + beyond
        width = self.ends.shape[1]
        found = np.searchsorted(keys.ravel(), (number + starts).ravel()).reshape(number.shape)
        result: IntArray = found - np.arange(len(keys))[:, None] * width
        return result


class _Ranking:
    """The detections of a class, best first, in every sample.

    Args:
        weights: (S, M) how often each counts.
        hits: (M, IoU thresholds) whether it is right.
        taking_part: (M, IoU thresholds) whether it is right or wrong.
        num_targets: (S,) labels, 1 or more.
    """

    def __init__(self, weights: _Int32Array, hits: BoolArray, taking_part: BoolArray, num_targets: IntArray) -> None:
        self._weights, self._hits, self._taking_part = weights, hits, taking_part
        self._num_targets = num_targets
        # Nearly always all take part, at all thresholds.
        self._all_take_part = bool(taking_part.all())
        self._totals = np.cumsum(weights, axis=1, dtype=np.int32)

    def at(self, threshold: int) -> _Curves:
        """The curves at one IoU threshold."""
        weights, totals, hits = self._weights, self._totals, self._hits[:, threshold]
        if not self._all_take_part:
            weights = weights * self._taking_part[:, threshold]
            totals = np.cumsum(weights, axis=1, dtype=np.int32)
        rows = np.flatnonzero(hits)
        ends, seen = np.zeros((2, len(weights), len(rows) + 1), dtype=np.int64)
        if len(rows):
            np.cumsum(weights[:, rows], axis=1, out=ends[:, :-1])
            ends[:, -1] = ends[:, -2]
            seen[:, :-1] = totals[:, rows]
        seen[:, -1] = totals[:, -1] if totals.shape[1] else 0
        envelope = ends / np.maximum(seen, 1)
        envelope[:, -1] = 0.0
        envelope = np.maximum.accumulate(envelope[:, ::-1], axis=1)[:, ::-1]
        return _Curves(ends, seen - ends, envelope, self._num_targets)


def _coco_values(curves: _Curves) -> FloatArray:
    """(S,) mean precision at the first detection that reaches each of 101 recalls."""
    columns = curves.first_with(_needed(curves.num_targets))
    result: FloatArray = np.take_along_axis(curves.envelope, columns, axis=1).mean(axis=1)
    return result


def _yolov5_values(curves: _Curves) -> FloatArray:
    """(S,) area under precision, interpolated between the recalls reached and 0 at recall 1.

    Each right detection is a point of the curve, also where it counts several times, and so are the wrong ones that
    follow it.
    """
    num_targets, total = curves.num_targets[:, None], curves.ends[:, -1:]
    number = np.minimum(_reached(curves.num_targets), total)  # found at the point to the left
    columns = curves.first_with(number + 1)
    wrong = np.take_along_axis(curves.wrong, columns, axis=1)  # up to the point to the right
    right = np.take_along_axis(curves.envelope, columns, axis=1)
    at_left = np.divide(number, number + wrong, out=np.ones(number.shape), where=number + wrong > 0)
    left = np.maximum(at_left, right)
    left_recall = number / num_targets
    right_recall = np.where(number < total, (number + 1) / num_targets, 1.0)
    width = np.where(right_recall > left_recall, right_recall - left_recall, 1.0)
    precision = left + (right - left) / width * (RECALLS - left_recall)
    precision[:, -1] = 0.0
    is_detected = (total + curves.wrong[:, -1:])[:, 0] > 0
    result: FloatArray = np.trapezoid(precision, RECALLS, axis=1) * is_detected
    return result


def _needed(num_targets: IntArray) -> IntArray:
    """(S, 101) how many labels must be found to reach each recall, in floating-point numbers."""
    reached = _reached(num_targets)
    result: IntArray = reached + (reached / num_targets[:, None] < RECALLS)
    return result


def _reached(num_targets: IntArray) -> IntArray:
    """(S, 101) the most labels that give at most each recall."""
    count = num_targets[:, None]
    number = np.floor(RECALLS * count).astype(np.int64)
    number += (number + 1) / count <= RECALLS
    number -= number / count > RECALLS
    return number


def _mean_of_classes(values: FloatArray) -> FloatArray:
    """(samples,) mean over the classes with labels."""
    valid = ~np.isnan(values)
    numbers = valid.sum(axis=1)
    sums = np.where(valid, values, 0.0).sum(axis=1)
    result: FloatArray = np.divide(sums, numbers, out=np.full(len(values), np.nan), where=numbers > 0)
    return result


def _blocks(num_samples: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // width)
    for start in range(0, num_samples, step):
        yield slice(start, start + step)
