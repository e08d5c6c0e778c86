"""Callbacks of a run."""

from yolo_lightning.callbacks.auto_anchor import AutoAnchor
from yolo_lightning.callbacks.auto_batch import AutoBatch
from yolo_lightning.callbacks.checkpoint import RunCheckpoint
from yolo_lightning.callbacks.class_balance import ClassBalance
from yolo_lightning.callbacks.ema import EMA
from yolo_lightning.callbacks.evaluation_file import EvaluationFile
from yolo_lightning.callbacks.finite import FiniteCheck
from yolo_lightning.callbacks.freeze import Freeze
from yolo_lightning.callbacks.metrics_file import MetricsFile
from yolo_lightning.callbacks.multi_scale import MultiScale
from yolo_lightning.callbacks.operating_point import ChooseOperatingPoint
from yolo_lightning.callbacks.pictures import Pictures
from yolo_lightning.callbacks.plots import Plots
from yolo_lightning.callbacks.predictions import Predictions
from yolo_lightning.callbacks.progress import DetectionProgressBar
from yolo_lightning.callbacks.speed import EvaluationSpeed
from yolo_lightning.callbacks.step_times import StepTimes

__all__ = [
    "EMA",
    "AutoAnchor",
    "AutoBatch",
    "ChooseOperatingPoint",
    "ClassBalance",
    "DetectionProgressBar",
    "EvaluationFile",
    "EvaluationSpeed",
    "FiniteCheck",
    "Freeze",
    "MetricsFile",
    "MultiScale",
    "Pictures",
    "Plots",
    "Predictions",
    "RunCheckpoint",
    "StepTimes",
]
