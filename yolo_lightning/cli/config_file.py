"""The configuration of a run as a file that repeats it."""

from __future__ import annotations

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from yolo_lightning.models import YOLOv5Head
from yolo_lightning.weights_and_biases import RunWandbLogger

__all__ = ["SaveResolvedConfig"]

_ANCHORS = "model.init_args.detector.init_args.head.init_args.anchors"


class SaveResolvedConfig(SaveConfigCallback):
    """Saves the configuration with the anchors that the network has, whether given, read from a file or fitted."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Completes the configuration and saves it; the callbacks before this one have set up the network."""
        head = getattr(getattr(pl_module, "detector", None), "head", None)
        anchors = head.constructor_arguments().get("anchors") if isinstance(head, YOLOv5Head) else None
        # A network that chooses its own head has no place for them; the checkpoint holds them in any case.
        if anchors is not None and _ANCHORS in self.config:
            self.config = self.config.clone()
            self.config[_ANCHORS] = anchors
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hands it to W&B, if the run is logged there; called in the first process."""
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_hyperparams(yaml.safe_load(self.parser.dump(self.config, skip_none=False)))
