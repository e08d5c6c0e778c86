"""The checkpoints of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

__all__ = ["RunCheckpoint"]


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint and the last one.

    Lightning's own callback writes ``last.ckpt`` only together with a better one, and forgets the best score of a run
    that is resumed into another directory.

    Args:
        save_last: Whether to write ``last.ckpt`` after every epoch. It is whole whenever the run is killed.
        **kwargs: Those of ``ModelCheckpoint``.
    """

    def __init__(self, save_last: bool = True, **kwargs: Any) -> None:
        super().__init__(save_last=None, **kwargs)
        self._saves_last = save_last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies the best checkpoint of the run that is resumed, which this run may not improve on."""
        super().on_train_start(trainer, pl_module)
        best, directory = Path(self.best_model_path), self._directory
        if trainer.is_global_zero and best.is_file() and best.parent.resolve() != directory.resolve():
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best, directory / best.name)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the best checkpoint, if this is one, and the last."""
        super().on_train_epoch_end(trainer, pl_module)
        if not self._saves_last or getattr(trainer, "fast_dev_run", False):
            return
        # In the same directory, so that putting it in its place is one step.
        temporary = self._directory / f".{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
        trainer.save_checkpoint(temporary, self.save_weights_only)
        if trainer.is_global_zero:
            temporary.replace(self._directory / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best score, whatever the directory."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})

    @property
    def _directory(self) -> Path:
        return Path(self.dirpath or ".")
