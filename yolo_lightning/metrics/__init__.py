"""One accumulator of detections and labels, and what is read from it."""

from yolo_lightning.metrics.coco_files import read_coco_evaluation
from yolo_lightning.metrics.detection import DetectionMetrics, MetricValue, evaluate
from yolo_lightning.metrics.matching import EvaluationData
from yolo_lightning.metrics.operating_point import choose_operating_point
from yolo_lightning.metrics.stored import EVALUATION_FILE, StoredEvaluation
from yolo_lightning.metrics.table import operating_point_table, per_class_table, table_text

__all__ = [
    "EVALUATION_FILE",
    "DetectionMetrics",
    "EvaluationData",
    "MetricValue",
    "StoredEvaluation",
    "choose_operating_point",
    "evaluate",
    "operating_point_table",
    "per_class_table",
    "read_coco_evaluation",
    "table_text",
]
