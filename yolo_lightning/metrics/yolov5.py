"""The YOLOv5 reading: precision, recall and F1 at one confidence, and average precision as YOLOv5 reports it.

It differs from COCO's: a label goes to the detection of highest confidence rather than of highest overlap, precision is
interpolated between the recalls, and neither crowds nor areas nor a number of detections play a part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.coco import IOU_THRESHOLDS
from yolo_lightning.metrics.matching import BoolArray, CandidatePairs, EvaluationData, FloatArray, IntArray

__all__ = ["CURVE_POINTS", "ClassCurves", "class_curves", "correct_detections", "operating_point", "yolov5_metrics"]

CURVE_POINTS: FloatArray = np.linspace(0.0, 1.0, 1000)
"""Confidences, or recalls, at which the curves are given."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_SMOOTHING_TAPS = 101
_TINY = 1e-16


@dataclass(frozen=True)
class ClassCurves:
    """Curves of each class at ``CURVE_POINTS``; NaN where a class has no label.

    Args:
        average_precision: (classes, 10 IoU thresholds).
        precision: (classes, 1000) over confidence, at IoU .5.
        recall: (classes, 1000) over confidence, at IoU .5.
        precision_over_recall: (classes, 1000) at IoU .5.
    """

    average_precision: FloatArray
    precision: FloatArray
    recall: FloatArray
    precision_over_recall: FloatArray

    @property
    def f1(self) -> FloatArray:
        """(classes, 1000) harmonic mean of precision and recall, over confidence."""
        result: FloatArray = 2 * self.precision * self.recall / (self.precision + self.recall + _TINY)
        return result


def yolov5_metrics(data: EvaluationData, pairs: CandidatePairs) -> dict[str, float | int | FloatArray | IntArray]:
    """Numbers and curves as YOLOv5 has them. Labels that mark crowds are left out.

    Args:
        data: Detections and labels.
        pairs: All overlaps of at least .5.

    Returns:
        Means over the classes that have labels, 0 without any: ``yolov5_map``, ``yolov5_map_50``; ``precision``,
        ``recall``, ``f1`` at ``confidence``, where the smoothed mean F1 is highest; ``fitness`` (.1 ``yolov5_map_50`` +
        .9 ``yolov5_map``). For each class, NaN where it has no label: ``yolov5_map_per_class``,
        ``yolov5_map_50_per_class``, ``precision_per_class``, ``recall_per_class``, ``f1_per_class`` (classes,),
        ``yolov5_ap_per_class`` (classes, 10 IoU thresholds), ``precision_curve``, ``recall_curve``, ``f1_curve``
        (classes, 1000) over ``curve_points`` as confidences, ``precision_recall_curve`` over them as recalls. Counts:
        ``num_images``, ``num_instances``, ``num_images_per_class``, ``num_instances_per_class``.
    """
    curves = class_curves(data, pairs)
    f1, ap = curves.f1, curves.average_precision
    present = ~np.isnan(ap[:, 0])
    point = operating_point(f1[present])
    yolov5_map, map_50 = _mean(ap[present]), _mean(ap[present, 0])
    return {
        "yolov5_map": yolov5_map,
        "yolov5_map_50": map_50,
        "precision": _mean(curves.precision[present, point]),
        "recall": _mean(curves.recall[present, point]),
        "f1": _mean(f1[present, point]),
        "confidence": float(CURVE_POINTS[point]),
        "fitness": 0.1 * map_50 + 0.9 * yolov5_map,
        "yolov5_map_per_class": ap.mean(axis=1),
        "yolov5_map_50_per_class": ap[:, 0],
        "yolov5_ap_per_class": ap,
        "precision_per_class": curves.precision[:, point],
        "recall_per_class": curves.recall[:, point],
        "f1_per_class": f1[:, point],
        "curve_points": CURVE_POINTS.copy(),
        "precision_curve": curves.precision,
        "recall_curve": curves.recall,
        "f1_curve": f1,
        "precision_recall_curve": curves.precision_over_recall,
        **_counts(data),
    }


def correct_detections(
    data: EvaluationData, pairs: CandidatePairs, iou_thresholds: FloatArray = IOU_THRESHOLDS
) -> BoolArray:
    """(K, IoU thresholds) whether a detection gets the label of its class that it overlaps most.

    At each threshold the label goes to the most confident of the detections that claim it.

    Args:
        data: Detections and labels.
        pairs: All overlaps of at least the lowest threshold.
        iou_thresholds: Overlaps from which on a detection can be right.
    """
    same_class = data.labels[pairs.detections] == data.target_labels[pairs.targets]
    claims = pairs.where(same_class & ~data.target_crowd[pairs.targets]).best_target()
    order = np.lexsort((claims.detections, claims.targets))
    targets = claims.targets[order]
    close_enough = claims.ious[order, None] >= iou_thresholds
    num_before: IntArray = np.cumsum(close_enough, axis=0) - close_enough
    first_claim = np.searchsorted(targets, targets)
    correct = np.zeros((len(data.scores), len(iou_thresholds)), dtype=np.bool_)
    correct[claims.detections[order]] = close_enough & (num_before == num_before[first_claim])
    return correct


def class_curves(data: EvaluationData, pairs: CandidatePairs) -> ClassCurves:
    """Average precision and curves of every class that has labels."""
    correct = correct_detections(data, pairs)
    num_targets = np.bincount(data.target_labels[~data.target_crowd], minlength=data.num_classes)
    curves = ClassCurves(
        np.full((data.num_classes, len(IOU_THRESHOLDS)), np.nan),
        *np.full((3, data.num_classes, len(CURVE_POINTS)), np.nan),
    )
    order = np.lexsort((-data.scores, data.labels))
    bounds = np.searchsorted(data.labels[order], np.arange(data.num_classes + 1))
    for label in np.flatnonzero(num_targets).tolist():
        rows = order[bounds[label] : bounds[label + 1]]
        _fill_class(curves, label, correct[rows], data.scores[rows], num_targets[label])
    return curves


def operating_point(f1: FloatArray) -> int:
    """Position in ``CURVE_POINTS`` of the highest mean F1 after smoothing; 0 without classes.

    Args:
        f1: (classes, 1000) curves over confidence.
    """
    if not len(f1):
        return 0
    padded = np.pad(f1.mean(axis=0), _SMOOTHING_TAPS // 2, mode="edge")
    return int(np.convolve(padded, np.full(_SMOOTHING_TAPS, 1 / _SMOOTHING_TAPS), mode="valid").argmax())


def _fill_class(curves: ClassCurves, label: int, correct: BoolArray, scores: FloatArray, num_targets: int) -> None:
    """Writes one row of the curves; the detections come best first."""
    for values in (curves.average_precision, curves.precision, curves.recall, curves.precision_over_recall):
        values[label] = 0.0
    if not len(scores):
        return
    num_correct = correct.cumsum(axis=0)
    recall = num_correct / (num_targets + _TINY)
    precision = num_correct / np.arange(1, len(scores) + 1)[:, None]
    # Rising abscissae for the interpolation; above the highest score nothing is found and nothing is wrong.
    curves.recall[label] = np.interp(-CURVE_POINTS, -scores, recall[:, 0], left=0.0)
    curves.precision[label] = np.interp(-CURVE_POINTS, -scores, precision[:, 0], left=1.0)
    for i in range(len(IOU_THRESHOLDS)):
        known_recall, envelope = _envelope(recall[:, i], precision[:, i])
        curves.average_precision[label, i] = np.trapezoid(np.interp(_RECALLS, known_recall, envelope), _RECALLS)
        if i == 0:
            curves.precision_over_recall[label] = np.interp(CURVE_POINTS, known_recall, envelope)


def _envelope(recall: FloatArray, precision: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Recalls and the highest precision at that or any higher recall, with ends at recall 0 and 1."""
    known_recall = np.concatenate(([0.0], recall, [1.0]))
    with_ends = np.concatenate(([1.0], precision, [0.0]))
    return known_recall, np.maximum.accumulate(with_ends[::-1])[::-1]


def _counts(data: EvaluationData) -> dict[str, int | IntArray]:
    labels = data.target_labels[~data.target_crowd]
    seen = np.unique(data.target_image_index[~data.target_crowd] * data.num_classes + labels)
    return {
        "num_images": data.num_images,
        "num_instances": len(labels),
        "num_images_per_class": np.bincount(seen % data.num_classes, minlength=data.num_classes),
        "num_instances_per_class": np.bincount(labels, minlength=data.num_classes),
    }


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else 0.0
