"""The figures of a run as a file and as a table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from yolo_lightning.metrics import per_class_table, table_text
from yolo_lightning.paths import replacing

__all__ = ["MetricsFile"]


class MetricsFile(Callback):
    """Writes ``metrics.json`` and, after validate and test, prints the table of the classes.

    After fit the file holds the figures of the best epoch, those of ``checkpoints/best.ckpt``.

    Args:
        monitor: Figure that tells the best epoch, the larger the better.
    """

    def __init__(self, monitor: str = "val/fitness") -> None:
        self.monitor = monitor
        self._figures: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keeps the figures of a standalone validation."""
        if not trainer.sanity_checking and trainer.state.fn == "validate":
            self._report(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keeps the figures of a test."""
        self._report(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keeps the figures of the epoch if it is the best so far."""
        fitness = trainer.callback_metrics.get(self.monitor)
        if fitness is not None and float(fitness) > self._figures.get(self.monitor, -math.inf):
            self._figures = {"epoch": trainer.current_epoch, **_figures(trainer)}
            self._write(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the figures of the run that is resumed, on which this one may not improve."""
        if self._figures:
            self._write(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The best figures so far."""
        return {"figures": self._figures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figures of a resumed run."""
        self._figures = state_dict.get("figures", {})

    def _report(self, trainer: Trainer, pl_module: Any) -> None:
        rank_zero_info(table_text(per_class_table(pl_module.results, pl_module.metrics.class_names)))
        self._figures = _figures(trainer)
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        directory = trainer.log_dir  # a broadcast: every process asks
        if directory is None or not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        try:
            _write_json(Path(directory) / "metrics.json", self._figures)
        except OSError as error:
            rank_zero_warn(f"metrics.json was not written: {error}")


def _figures(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}


def _write_json(path: Path, figures: dict[str, float]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
