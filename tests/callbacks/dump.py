"""What each process of a run holds after each epoch, written to the working directory."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from yolo_lightning.callbacks import EMA


class DumpEpochs(Callback):
    """Writes ``rank<rank>-<epoch>.pt``: the network and its average; epoch -1 is the start."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._dump(trainer, pl_module, -1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._dump(trainer, pl_module, trainer.current_epoch)

    def _dump(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        (average,) = (callback._averaged.module for callback in trainer.callbacks if isinstance(callback, EMA))
        content = {"network": pl_module.detector.state_dict(), "average": average.detector.state_dict()}
        torch.save(content, Path(f"rank{trainer.global_rank}-{epoch}.pt"))
