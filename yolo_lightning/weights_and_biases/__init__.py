"""Weights & Biases: nothing else needs it, and wandb is imported when a run is opened."""

from yolo_lightning.weights_and_biases.dataset_callback import WandbDataset
from yolo_lightning.weights_and_biases.logger import RunWandbLogger
from yolo_lightning.weights_and_biases.models import WandbModels
from yolo_lightning.weights_and_biases.run_callback import WandbRun

__all__ = ["RunWandbLogger", "WandbDataset", "WandbModels", "WandbRun"]
