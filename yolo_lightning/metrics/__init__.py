"""One accumulator of detections and labels, and what is read from it."""

from yolo_lightning.metrics.detection import DetectionMetrics, MetricValue
from yolo_lightning.metrics.table import per_class_table, table_text

__all__ = ["DetectionMetrics", "MetricValue", "per_class_table", "table_text"]
