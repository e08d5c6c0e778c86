"""Image to detections: backbone, neck, head, the detector made of them, its weights, and inference with it."""

from yolo_lightning.models.augmentation import TestTimeAugmentation
from yolo_lightning.models.backbone import Backbone, CSPDarknet
from yolo_lightning.models.build import build_detector, check_description, describe
from yolo_lightning.models.checkpoint import Checkpoint, read_checkpoint
from yolo_lightning.models.compilation import compile_detector
from yolo_lightning.models.detector import Detector, yolov5
from yolo_lightning.models.fusion import WeightedBoxesFusion
from yolo_lightning.models.head import Head, YOLOv5Head
from yolo_lightning.models.inference import Inference
from yolo_lightning.models.neck import PAFPN, Neck
from yolo_lightning.models.official import official_layers, official_state_dict
from yolo_lightning.models.pruned import PrunedDetector
from yolo_lightning.models.saving import save_weights
from yolo_lightning.models.slices import Slices
from yolo_lightning.models.weights import TransferReport, detector_from_weights, load_weights, resolve_weights

__all__ = [
    "PAFPN",
    "Backbone",
    "CSPDarknet",
    "Checkpoint",
    "Detector",
    "Head",
    "Inference",
    "Neck",
    "PrunedDetector",
    "Slices",
    "TestTimeAugmentation",
    "TransferReport",
    "WeightedBoxesFusion",
    "YOLOv5Head",
    "build_detector",
    "check_description",
    "compile_detector",
    "describe",
    "detector_from_weights",
    "load_weights",
    "official_layers",
    "official_state_dict",
    "read_checkpoint",
    "resolve_weights",
    "save_weights",
    "yolov5",
]
