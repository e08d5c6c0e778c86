"""One accumulator of detections and labels, and what is read from it."""

from yolo_lightning.metrics.detection import DetectionMetrics, MetricValue
from yolo_lightning.metrics.operating_point import choose_operating_point
from yolo_lightning.metrics.table import operating_point_table, per_class_table, table_text

__all__ = [
    "DetectionMetrics",
    "MetricValue",
    "choose_operating_point",
    "operating_point_table",
    "per_class_table",
    "table_text",
]
