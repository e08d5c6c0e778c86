"""Callbacks of a user's own, named in YAML by the tests."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from yolo_lightning.types import Batch


class DumpState(Callback):
    """Writes the weights that each process ends with to the working directory."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(dict(pl_module.state_dict()), Path(f"rank{trainer.global_rank}.pt"))


class DumpResults(Callback):
    """Writes all figures of a validation, those of single classes and the curves included, to the run directory."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        directory = trainer.log_dir  # a broadcast: every process asks
        if trainer.is_global_zero:
            text = json.dumps(pl_module.results, default=lambda array: array.tolist())
            (Path(str(directory)) / "results.json").write_text(text)


class Kill(Callback):
    """Kills the process in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


class RecordBatches(Callback):
    """Writes what each training step saw to ``batches<rank>.jsonl`` in the working directory."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        row = {
            "epoch": trainer.current_epoch,
            "size": batch.size,
            "num_samples": batch.num_samples,
            "images": [info.index for info in batch.infos],
            "labels": batch.labels.tolist(),
        }
        with Path(f"batches{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


class Remove(Callback):
    """Removes a file before anything is predicted, but after it was looked at."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.barrier()
        self.path.unlink(missing_ok=True)
        trainer.strategy.barrier()


class FailToPredict(Callback):
    """Fails in the second process, at its second batch."""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if trainer.global_rank == 1 and batch_idx == 1:
            raise RuntimeError("out of order")
