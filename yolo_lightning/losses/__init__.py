"""Losses: predictions and labels → named terms to minimise."""

from yolo_lightning.losses.assigner import AnchorRatioAssigner, Assigner, Assignment
from yolo_lightning.losses.criteria import BinaryCrossEntropy, FocalLoss, IoULoss
from yolo_lightning.losses.yolov5 import AnchorHead, Term, YOLOv5Loss

__all__ = [
    "AnchorHead",
    "AnchorRatioAssigner",
    "Assigner",
    "Assignment",
    "BinaryCrossEntropy",
    "FocalLoss",
    "IoULoss",
    "Term",
    "YOLOv5Loss",
]
