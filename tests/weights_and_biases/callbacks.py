"""Callbacks that the tests name in YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch import Callback, Trainer

from yolo_lightning.weights_and_biases.logger import wandb_logger


class ImagesAtWandb(Callback):
    """Logs the images of a data set as an artifact, and says where they are.

    Args:
        root: Folder of the data set.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        logger = wandb_logger(trainer)
        if logger is not None and logger.uploader is not None:
            logger.uploader.submit("the data", lambda: self._log(logger))

    def _log(self, logger: Any) -> None:
        artifact = wandb.Artifact("shapes", "dataset")
        artifact.add_dir(str(self.root / "images"), name="images", policy="immutable", skip_cache=True)
        logger.experiment.log_artifact(artifact)
        for name, entry in artifact.manifest.entries.items():
            logger.image_references[str(entry.local_path)] = (
                f"wandb-client-artifact://{artifact._client_id}/{name}",
                name,
            )


class PrintReferences(Callback):
    """Prints what W&B calls the images, as what is submitted now finds it."""

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        logger = wandb_logger(trainer)
        if logger is not None and logger.uploader is not None:
            logger.uploader.submit("a print", lambda: print("references", json.dumps(logger.image_references)))
