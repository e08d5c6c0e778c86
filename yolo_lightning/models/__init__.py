"""Image to raw predictions: backbone, neck, head, and the detector made of them."""

from yolo_lightning.models.backbone import Backbone, CSPDarknet
from yolo_lightning.models.detector import Detector, yolov5
from yolo_lightning.models.head import Head, YOLOv5Head
from yolo_lightning.models.neck import PAFPN, Neck
from yolo_lightning.models.official import official_layers, official_state_dict

__all__ = [
    "PAFPN",
    "Backbone",
    "CSPDarknet",
    "Detector",
    "Head",
    "Neck",
    "YOLOv5Head",
    "official_layers",
    "official_state_dict",
    "yolov5",
]
