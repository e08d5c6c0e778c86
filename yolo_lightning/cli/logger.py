"""The log that every run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

__all__ = ["RunCSVLogger"]


class RunCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` into the run directory, one row for each epoch.

    Args:
        directory: The run directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(save_dir=directory, name="", version="", flush_logs_every_n_steps=1)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Adds to the row of the step; Lightning logs training and validation of an epoch one after the other."""
        rows = self.experiment.metrics
        super().log_metrics(metrics, step)
        if len(rows) > 1 and rows[-1].get("step") == rows[-2].get("step"):
            rows[-2].update(rows.pop())

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: ``config.yaml`` holds the configuration."""
