"""Configurations: those that come with the library, and that of a run as a file that repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from yolo_lightning.errors import InputError
from yolo_lightning.models import YOLOv5Head
from yolo_lightning.shipped import find_config, shipped_configs
from yolo_lightning.weights_and_biases import RunWandbLogger

__all__ = ["SaveResolvedConfig", "use_shipped_configs"]

_OPTION = "--config"
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


def use_shipped_configs(args: Sequence[str]) -> list[str]:
    """Arguments in which ``--config quickstart``, or ``configs/quickstart.yaml``, is the library's file of that name.

    A file that exists is the user's own.

    Raises:
        InputError: If there is neither.
    """
    words = list(args)
    for position, word in enumerate(words):
        if word == _OPTION and position + 1 < len(words):
            words[position + 1] = _config(words[position + 1])
        elif word.startswith(f"{_OPTION}="):
            words[position] = f"{_OPTION}={_config(word.partition('=')[2])}"
    return words


def _config(name: str) -> str:
    is_content = not name or name.startswith("-") or any(sign in name for sign in "{:\n")
    if is_content or Path(name).exists():
        return name
    if (found := find_config(name)) is None:
        raise InputError(f"{_OPTION} {name}: there is no such file, nor a shipped one: {', '.join(shipped_configs())}")
    return str(found)
