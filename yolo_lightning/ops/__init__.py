"""Pure tensor functions: box geometry, overlap, non-maximum suppression."""

from yolo_lightning.ops.boxes import clip_boxes, cxcywh_to_xyxy, to_original, xyxy_to_cxcywh
from yolo_lightning.ops.iou import IoUKind, iou
from yolo_lightning.ops.nms import NMS

__all__ = ["NMS", "IoUKind", "clip_boxes", "cxcywh_to_xyxy", "iou", "to_original", "xyxy_to_cxcywh"]
