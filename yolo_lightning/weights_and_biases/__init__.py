"""Weights & Biases: nothing else needs it, and wandb is imported when a run is opened. Names load late.

The process that writes a table must not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.weights_and_biases.box_debugger import BoundingBoxDebugger
    from yolo_lightning.weights_and_biases.dataset_callback import WandbDataset
    from yolo_lightning.weights_and_biases.evaluation_table import EvaluationTable
    from yolo_lightning.weights_and_biases.logger import RunWandbLogger
    from yolo_lightning.weights_and_biases.models import WandbModels
    from yolo_lightning.weights_and_biases.run_callback import WandbRun

__all__ = ["BoundingBoxDebugger", "EvaluationTable", "RunWandbLogger", "WandbDataset", "WandbModels", "WandbRun"]

_MODULES = {
    "BoundingBoxDebugger": "box_debugger",
    "EvaluationTable": "evaluation_table",
    "RunWandbLogger": "logger",
    "WandbDataset": "dataset_callback",
    "WandbModels": "models",
    "WandbRun": "run_callback",
}

__getattr__ = lazy_names(__name__, _MODULES)
