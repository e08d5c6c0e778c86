"""One accumulator of detections and labels, and what is read from it. Reading needs no torch, so names load late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.metrics.coco_files import read_coco_evaluation
    from yolo_lightning.metrics.comparison import Comparison, compare_evaluations
    from yolo_lightning.metrics.detection import DetectionMetrics
    from yolo_lightning.metrics.errors import ERROR_KINDS, ErrorSplit, split_errors
    from yolo_lightning.metrics.evaluation import MetricValue, evaluate
    from yolo_lightning.metrics.intervals import Interval, precision_intervals
    from yolo_lightning.metrics.label_errors import LabelIssue, probable_label_errors
    from yolo_lightning.metrics.matching import EvaluationData
    from yolo_lightning.metrics.operating_point import choose_operating_point
    from yolo_lightning.metrics.stored import EVALUATION_FILE, StoredEvaluation
    from yolo_lightning.metrics.table import operating_point_table, per_class_table, table_text

__all__ = [
    "ERROR_KINDS",
    "EVALUATION_FILE",
    "Comparison",
    "DetectionMetrics",
    "ErrorSplit",
    "EvaluationData",
    "Interval",
    "LabelIssue",
    "MetricValue",
    "StoredEvaluation",
    "choose_operating_point",
    "compare_evaluations",
    "evaluate",
    "operating_point_table",
    "per_class_table",
    "precision_intervals",
    "probable_label_errors",
    "read_coco_evaluation",
    "split_errors",
    "table_text",
]

_MODULES = {
    "Comparison": "comparison",
    "DetectionMetrics": "detection",
    "ERROR_KINDS": "errors",
    "EVALUATION_FILE": "stored",
    "ErrorSplit": "errors",
    "EvaluationData": "matching",
    "Interval": "intervals",
    "LabelIssue": "label_errors",
    "MetricValue": "evaluation",
    "StoredEvaluation": "stored",
    "choose_operating_point": "operating_point",
    "compare_evaluations": "comparison",
    "evaluate": "evaluation",
    "operating_point_table": "table",
    "per_class_table": "table",
    "precision_intervals": "intervals",
    "probable_label_errors": "label_errors",
    "read_coco_evaluation": "coco_files",
    "split_errors": "errors",
    "table_text": "table",
}

__getattr__ = lazy_names(__name__, _MODULES)
