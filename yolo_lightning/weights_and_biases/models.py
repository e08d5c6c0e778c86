"""Checkpoints of a run as versions of an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.callbacks.best_epoch import BestEpoch
from yolo_lightning.weights_and_biases.ledger import Entry
from yolo_lightning.weights_and_biases.logger import RunWandbLogger, wandb_logger
from yolo_lightning.weights_and_biases.staging import stage

__all__ = ["CHECKPOINT_FILE", "WandbModels", "model_artifact_name"]

CHECKPOINT_FILE = "last.ckpt"
"""Name of the checkpoint in the artifact."""

_FILES = ("config.yaml", "metrics.csv")
"""What resuming on another machine needs besides."""


def model_artifact_name(run_id: str) -> str:
    """Name of the artifact of a run's checkpoints."""
    return f"run_{run_id}_model"


class WandbModels(Callback):
    """Keeps the run's checkpoints at W&B, as versions of the artifact ``run_<id>_model``.

    A version has aliases ``latest``, ``last`` and ``epoch-N`` (from 0, as in the charts), and ``best`` if none was
    better before; it holds ``last.ckpt``, from which training goes on and which ``detect`` takes, and the run's
    ``config.yaml`` and ``metrics.csv``. Sending happens off the training thread.

    Args:
        save_period: Send the checkpoint of every so many epochs. Those that are best so far and that of the last epoch
            are sent in any case; None sends only these.
        keep_last: Older versions than so many are deleted, except for the best, and those that you gave an alias; None
            keeps all.
        monitor: Figure that tells the best epoch, the larger the better.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(self, save_period: int | None = 1, keep_last: int | None = 2, monitor: str = "val/fitness") -> None:
        for name, value in (("save_period", save_period), ("keep_last", keep_last)):
            if value is not None and value < 1:
                raise ValueError(f"{name} of WandbModels must be at least 1, got {value}")
        self.save_period = save_period
        self.keep_last = keep_last
        self._best = BestEpoch(monitor)
        self._is_best = False
        self._fitness: float | None = None
        self._ended: int | None = None
        self._failed = False

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Sees whether the epoch is the best so far."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._is_best = self._best.is_now(trainer)
            self._fitness = float(trainer.callback_metrics.get(self._best.monitor, 0.0))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Notes that there is an epoch to send; its checkpoint is written after this."""
        self._ended = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Sends the epoch before, whose checkpoint and figures are whole now."""
        self._send(trainer, is_last=False)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Sends the last epoch."""
        self._send(trainer, is_last=True)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Sends the last epoch that is whole."""
        self._send(trainer, is_last=True)

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return self._best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure of a resumed run."""
        self._best.load_state_dict(state_dict)

    def _send(self, trainer: Trainer, *, is_last: bool) -> None:
        epoch, self._ended = self._ended, None
        logger = wandb_logger(trainer)
        checkpoints = getattr(trainer.checkpoint_callback, "dirpath", None)
        if epoch is None or logger is None or logger.uploader is None or checkpoints is None:
            return
        periodic = self.save_period is not None and (epoch + 1) % self.save_period == 0
        is_best, self._is_best = self._is_best, False
        if not (periodic or is_best or is_last):
            return
        try:
            self._submit(trainer, logger, Path(checkpoints), epoch, is_best)
        except OSError as error:
            if not self._failed:
                self._failed = True
                rank_zero_warn(f"W&B does not get the checkpoints: {error}")

    def _submit(self, trainer: Trainer, logger: RunWandbLogger, checkpoints: Path, epoch: int, is_best: bool) -> None:
        assert logger.uploader is not None
        assert logger.address is not None
        files = {CHECKPOINT_FILE: checkpoints / CHECKPOINT_FILE, **{name: logger.directory / name for name in _FILES}}
        kept = stage(logger.directory, f"model-epoch-{epoch}", files, replaced=(CHECKPOINT_FILE,))
        if CHECKPOINT_FILE not in kept:
            raise FileNotFoundError(f"{checkpoints / CHECKPOINT_FILE} is not written; leave checkpoint.save_last on")
        metadata = {
            "epoch": epoch,
            "total_epochs": trainer.max_epochs,
            "global_step": trainer.global_step,
            "fitness": self._fitness,
            "best_fitness": self._best.value if self._best.value >= 0 else None,
        }
        aliases = ("latest", "last", f"epoch-{epoch}", *(("best",) if is_best else ()))
        name = model_artifact_name(logger.address.id)
        logger.uploader.send(Entry("log", name, "model", aliases, metadata, kept, keep_last=self.keep_last))
