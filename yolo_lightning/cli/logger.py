"""The log that every run has."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

__all__ = ["RunCSVLogger"]


class RunCSVLogger(Logger):
    """Writes ``metrics.csv`` into the run directory, one row for each step that was logged: one for each epoch.

    Lightning's CSVLogger writes a row for each call, and it logs the training and the validation of an epoch in two.
    Times, ``time/…``, which no two runs have in common, go to ``times.csv`` beside it. A file that cannot be written is
    warned of once, and the run goes on.

    Args:
        directory: The run directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._metrics = _Table(directory / "metrics.csv")
        self._times = _Table(directory / "times.csv")

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
    def go_on_from(self, older: Path, num_epochs: int) -> None:
        """Begins with the first epochs of the run that is resumed, as far as its files are there.

        Args:
            older: Folder of its ``metrics.csv`` and ``times.csv``.
            num_epochs: Epochs that the checkpoint has behind it.
        """
        last = self._metrics.take_over(older, lambda row: int(row.get("epoch") or 0) < num_epochs)
        self._times.take_over(older, lambda row: int(row["step"]) <= last)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds to the row of the step, or begins a new one."""
        times = {name: value for name, value in metrics.items() if name.startswith("time/")}
        others = {name: value for name, value in metrics.items() if name not in times}
        if times:
            self._times.add(times, step)
        if others:
            self._metrics.add(others, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: ``config.yaml`` holds the configuration."""


class _Table:
    """A file whose last row may still grow."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._columns: list[str] = ["step"]
        self._row: dict[str, Any] = {}
        self._row_offset = 0
        self._failed = False

    def add(self, values: dict[str, float], step: int | None) -> None:
        """Adds to the row of the step, or begins a new one; gives up once the file cannot be written."""
        if self._failed:
            return
        try:
            self._add(values, step)
        except OSError as error:
            self._failed = True
            rank_zero_warn(f"{self._file} is not written any more: {error}")

    def take_over(self, folder: Path, wanted: Callable[[dict[str, str]], bool]) -> int:
        """Copies rows of an older file of this name; returns the last step among them, -1 if there is none."""
        try:
            with (folder / self._file.name).open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if row["step"].isdigit() and wanted(row)]
                self._columns = list(reader.fieldnames or ["step"])
            if rows:
                with self._file.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, self._columns)
                    writer.writeheader()
                    writer.writerows(rows)
            return int(rows[-1]["step"]) if rows else -1
        except FileNotFoundError:
            return -1
        except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
            rank_zero_warn(f"{self._file} lacks the epochs before: {folder / self._file.name} cannot be used ({error})")
            self._columns = ["step"]
            return -1

    def _add(self, values: dict[str, float], step: int | None) -> None:
        if "step" not in self._row or self._row["step"] != step:
            self._row = {"step": step}
            self._row_offset = self._file.stat().st_size if self._file.exists() else 0
        self._row.update(values)
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
