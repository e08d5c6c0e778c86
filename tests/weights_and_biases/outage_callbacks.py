"""What can go wrong on the disk, as callbacks for configurations."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["FullLedger", "NoStaging"]


class FullLedger(Callback):
    """The disk of the ledger is full."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        Path(trainer.loggers[0].save_dir, "wandb-pending.jsonl").symlink_to("/dev/full")


class NoStaging(Callback):
    """Checkpoints cannot be kept for later."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.loggers[0].save_dir, "wandb")
        folder.mkdir(exist_ok=True)
        (folder / "staging").write_text("in the way")
