"""YOLOv5 as a modular PyTorch Lightning library.

Importing the package is cheap: the public names below load what they need when they are first used.
"""

from __future__ import annotations

from yolo_lightning.lazy import lazy_names

__version__ = "0.1.0"

_PUBLIC = {
    "Batch": "types",
    "DetectionDataModule": "data.datamodule",
    "DetectionMetrics": "metrics",
    "DetectionModule": "module",
    "Detections": "types",
    "Detector": "models",
    "FeatureInfo": "types",
    "ImageInfo": "types",
    "Predictor": "inference.predictor",
    "Results": "inference.results",
    "Sample": "types",
    "YOLOv5Loss": "losses",
    "detector_from_weights": "models",
    "load": "inference.loading",
    "load_weights": "models",
    "official_state_dict": "models",
    "save_weights": "models",
    "yolov5": "models",
}

__all__ = ["__version__", *_PUBLIC]

__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
