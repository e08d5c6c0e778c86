"""Callbacks of a user's own, named in YAML by the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class DumpState(Callback):
    """Writes the weights that each process ends with to the working directory."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(dict(pl_module.state_dict()), Path(f"rank{trainer.global_rank}.pt"))


class Kill(Callback):
    """Kills the process in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)
