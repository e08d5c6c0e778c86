"""Every figure of an evaluation at once."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from yolo_lightning.metrics.coco import IOU_THRESHOLDS, coco_metrics
from yolo_lightning.metrics.confusion import CONFUSION_IOU, confusion_matrix
from yolo_lightning.metrics.matching import EvaluationData, candidate_pairs
from yolo_lightning.metrics.yolov5 import yolov5_metrics

__all__ = ["MetricValue", "evaluate"]

MetricValue = float | int | npt.NDArray[Any]


def evaluate(data: EvaluationData, *, reference_quirks: bool = False) -> dict[str, MetricValue]:
    """Reads all numbers from detections and labels, as ``DetectionMetrics.compute`` says."""
    confusion_pairs = candidate_pairs(data, CONFUSION_IOU)
    pairs = confusion_pairs.where(confusion_pairs.ious >= IOU_THRESHOLDS[0])
    matrix = confusion_matrix(data, confusion_pairs, reference_quirks=reference_quirks)
    return {**coco_metrics(data, pairs), **yolov5_metrics(data, pairs), "confusion_matrix": matrix}
