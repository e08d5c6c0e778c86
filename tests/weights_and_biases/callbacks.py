"""Callbacks of a user's own, named in YAML by the tests."""

from __future__ import annotations

import json
from typing import Any

from lightning.pytorch import Callback, Trainer

from yolo_lightning.weights_and_biases.logger import wandb_logger


class PrintReferences(Callback):
    """Prints what W&B calls the images, as what is submitted now finds it."""

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        logger = wandb_logger(trainer)
        if logger is not None and logger.uploader is not None:
            logger.uploader.submit("a print", lambda: print("references", json.dumps(logger.image_references)))
