"""From files to batches. Importing is cheap: each name loads what it needs when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.data.augment import YOLOv5Augmentation
    from yolo_lightning.data.base import DetectionDataset, SampleTransform
    from yolo_lightning.data.cache import CachedImages
    from yolo_lightning.data.datamodule import DetectionDataModule
    from yolo_lightning.data.datasets import TransformedDataset, YOLODataset
    from yolo_lightning.data.problems import DataError, UnreadableImageError
    from yolo_lightning.data.samplers import EvaluationBatchSampler, TrainBatchSampler
    from yolo_lightning.data.sampling import ClassBalancedSampling, RepeatFactorSampling, Sampling
    from yolo_lightning.data.single_class import SingleClass
    from yolo_lightning.data.synthetic import SyntheticShapes
    from yolo_lightning.data.transforms import Letterbox

__all__ = [
    "CachedImages",
    "ClassBalancedSampling",
    "DataError",
    "DetectionDataModule",
    "DetectionDataset",
    "EvaluationBatchSampler",
    "Letterbox",
    "RepeatFactorSampling",
    "SampleTransform",
    "Sampling",
    "SingleClass",
    "SyntheticShapes",
    "TrainBatchSampler",
    "TransformedDataset",
    "UnreadableImageError",
    "YOLODataset",
    "YOLOv5Augmentation",
]

_MODULES = {
    "CachedImages": "cache",
    "ClassBalancedSampling": "sampling",
    "DataError": "problems",
    "DetectionDataModule": "datamodule",
    "DetectionDataset": "base",
    "EvaluationBatchSampler": "samplers",
    "Letterbox": "transforms",
    "RepeatFactorSampling": "sampling",
    "SampleTransform": "base",
    "Sampling": "sampling",
    "SingleClass": "single_class",
    "SyntheticShapes": "synthetic",
    "TrainBatchSampler": "samplers",
    "TransformedDataset": "datasets",
    "UnreadableImageError": "problems",
    "YOLODataset": "datasets",
    "YOLOv5Augmentation": "augment",
}

__getattr__ = lazy_names(__name__, _MODULES)
