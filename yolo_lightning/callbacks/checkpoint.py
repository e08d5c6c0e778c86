"""The checkpoints of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.models import detector_from_weights, save_weights

__all__ = ["RunCheckpoint"]


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint, the last one, and one every few epochs.

    Lightning's own callback writes ``last.ckpt`` only together with a better one, and forgets the best score of a run
    that is resumed into another directory.

    Beside them lie weights alone, to share: ``best.safetensors`` whenever there is a better checkpoint, and
    ``last.safetensors`` when training ends or is interrupted (see :func:`~yolo_lightning.models.save_weights`). They
    are the weights that were validated: the average, if there is one.

    Args:
        save_last: Whether to write ``last.ckpt`` after every epoch. It is whole whenever the run is killed.
        save_period: Keep ``epoch<number>.ckpt`` of every so many epochs, from epoch 0; none if not given.
        save_safetensors: Whether to write the weights to share.
        **kwargs: Those of ``ModelCheckpoint``.

    Raises:
        ValueError: If the period is not positive.
    """

    def __init__(
        self, save_last: bool = True, save_period: int | None = None, save_safetensors: bool = True, **kwargs: Any
    ) -> None:
        if save_period is not None and save_period < 1:
            raise ValueError(f"checkpoint.save_period must be at least 1 epoch, got {save_period}")
        super().__init__(save_last=None, **kwargs)
        self.save_period = save_period
        self.save_safetensors = save_safetensors
        self._saves_last = save_last
        self._best_shared = 0
        self._last_fitness: float | None = None
        self._last_saved = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies the best checkpoint of the run that is resumed, which this run may not improve on."""
        super().on_train_start(trainer, pl_module)
        best, directory = Path(self.best_model_path), self._directory
        if self.best_model_path and not best.is_file() and trainer.ckpt_path:
            best = Path(trainer.ckpt_path).with_name(best.name)  # the run was moved, and its checkpoints with it
        if trainer.is_global_zero and best.is_file() and best.parent.resolve() != directory.resolve():
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best, directory / best.name)
            self._share_best(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the best checkpoint, if this is one, the last, and that of the period."""
        super().on_train_epoch_end(trainer, pl_module)
        if getattr(trainer, "fast_dev_run", False):
            return
        self._share_best(trainer)
        if self._saves_last:
            self._save(trainer, self.CHECKPOINT_NAME_LAST)
            fitness = trainer.callback_metrics.get(self.monitor or "")
            self._last_fitness = None if fitness is None else float(fitness)
            self._last_saved = True
        if self.save_period is not None and trainer.current_epoch % self.save_period == 0:
            self._save(trainer, f"epoch{trainer.current_epoch}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the last weights to share."""
        super().on_train_end(trainer, pl_module)
        self._share_last(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Writes the weights of the last whole epoch to share."""
        super().on_exception(trainer, pl_module, exception)
        self._share_last(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best score, whatever the directory."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})

    def _save(self, trainer: Trainer, name: str) -> None:
        # In the same directory, so that putting it in its place is one step.
        temporary = self._directory / f".{name}{self.FILE_EXTENSION}"
        trainer.save_checkpoint(temporary, self.save_weights_only)
        if trainer.is_global_zero:
            temporary.replace(self._directory / f"{name}{self.FILE_EXTENSION}")

    def _share_best(self, trainer: Trainer) -> None:
        best = Path(self.best_model_path)
        written = best.stat().st_mtime_ns if trainer.is_global_zero and best.is_file() else self._best_shared
        if written != self._best_shared:
            self._best_shared = written
            self._share(best, "best", None if self.best_model_score is None else float(self.best_model_score))

    def _share_last(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self._last_saved:
            last = self._directory / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
            self._share(last, "last", self._last_fitness)

    def _share(self, checkpoint: Path, name: str, fitness: float | None) -> None:
        """Made from the file, so that it holds what the file does, whatever has become of the device since."""
        if not self.save_safetensors:
            return
        target = self._directory / f"{name}.safetensors"
        try:
            epoch = torch.load(checkpoint, weights_only=True, mmap=True, map_location="cpu")["epoch"]
            with torch.random.fork_rng(devices=[]):  # a new network draws random weights first
                detector, class_names = detector_from_weights(checkpoint)
            save_weights(detector, target, class_names or (), epoch, fitness)
        except (OSError, ValueError) as error:
            rank_zero_warn(f"{target} was not written: {error}")

    @property
    def _directory(self) -> Path:
        return Path(self.dirpath or ".")
