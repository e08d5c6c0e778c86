"""The log that every run has."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

__all__ = ["RunCSVLogger"]


class RunCSVLogger(Logger):
    """Writes ``metrics.csv`` into the run directory, one row for each step that was logged: one for each epoch.

    Lightning's CSVLogger writes a row for each call, and it logs the training and the validation of an epoch in two.
    A file that cannot be written is warned of once, and the run goes on.

    Args:
        directory: The run directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._file = directory / "metrics.csv"
        self._columns: list[str] = ["step"]
        self._row: dict[str, Any] = {}
        self._row_offset = 0
        self._failed = False

    @property
    def name(self) -> str:
        """Nothing: the run directory has the name."""
        return ""

    @property
    def version(self) -> str:
        """Nothing: the run directory has the number."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._directory)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds to the row of the step, or begins a new one."""
        if self._failed:
            return
        try:
            self._log(metrics, step)
        except OSError as error:
            self._failed = True
            rank_zero_warn(f"{self._file} is not written any more: {error}")

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: ``config.yaml`` holds the configuration."""

    def _log(self, metrics: dict[str, float], step: int | None) -> None:
        if "step" not in self._row or self._row["step"] != step:
            self._row = {"step": step}
            self._row_offset = self._file.stat().st_size if self._file.exists() else 0
        self._row.update(metrics)
        if new := sorted(self._row.keys() - set(self._columns)):
            self._columns += new
            self._rewrite()
        else:
            self._write_row()

    def _write_row(self) -> None:
        with self._file.open("r+", newline="", encoding="utf-8") as file:
            file.truncate(self._row_offset)
            file.seek(self._row_offset)
            csv.DictWriter(file, self._columns).writerow(self._row)

    def _rewrite(self) -> None:
        """Writes the rows so far under a header with the new columns; happens when something is logged first."""
        older: list[dict[str, Any]] = []
        if self._file.exists():
            with self._file.open(newline="", encoding="utf-8") as file:
                older = [row for row in csv.DictReader(file) if row["step"] != str(self._row["step"])]
        with self._file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(older)
            self._row_offset = file.tell()
            writer.writerow(self._row)
