"""``metrics.csv`` of a run, also one that is cut off or damaged."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError

__all__ = ["HISTORY_FILE", "History"]

HISTORY_FILE = "metrics.csv"
"""Name of the file in a run directory."""

_NO_FIGURES = frozenset({"step", "epoch", ""})


@dataclass(frozen=True)
class History:
    """Figures of the epochs of a run.

    Args:
        epochs: (n,) epochs, rising; steps, if epochs were not logged.
        columns: For each figure its (n,) values; NaN where an epoch has none.
        remark: What could not be read of the file; empty if all could.
    """

    epochs: npt.NDArray[np.float64]
    columns: dict[str, npt.NDArray[np.float64]]
    remark: str = ""

    @property
    def is_training(self) -> bool:
        """Whether it is of a training, and not of a single evaluation."""
        return len(self.epochs) > 1 or any(name.startswith(("train/", "lr/")) for name in self.columns)

    @classmethod
    def read(cls, path: Path) -> History:
        """Reads a file, or that of a run directory: rows of one epoch are one, rows that are cut off are left out.

        Raises:
            InputError: If there is none, or not a row of it can be read.
        """
        file = path / HISTORY_FILE if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            raise InputError(f"{file} does not exist: no epoch of the run was completed, or nothing logged") from error
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        rows, num_bad = _parse(text)
        if not rows:
            raise InputError(f"{file} has not a row of figures that can be read")
        remark = f"{num_bad} rows of {file} are cut off or damaged, and left out" if num_bad else ""
        epochs = sorted(rows)
        names = {name: None for epoch in epochs for name in rows[epoch]}
        columns = {name: np.array([rows[epoch].get(name, math.nan) for epoch in epochs]) for name in names}
        return cls(np.array(epochs), columns, remark)


def _parse(text: str) -> tuple[dict[float, dict[str, float]], int]:
    """Figures by epoch, and the number of rows that are no such rows."""
    complete, newline, cut = text.rpartition("\n")
    lines = _rows(f"{complete}{newline}".splitlines(keepends=True))
    header = next(lines, None) or []
    key = "epoch" if "epoch" in header else "step"
    rows: dict[float, dict[str, float]] = {}
    num_bad = int(bool(cut))
    for cells in lines:
        try:
            values = {name: float(cell) for name, cell in zip(header, cells or [], strict=True) if cell != ""}
            epoch = values[key]
            if not math.isfinite(epoch):
                raise ValueError("no epoch")
        except (ValueError, KeyError):
            num_bad += 1
            continue
        rows.setdefault(epoch, {}).update({name: v for name, v in values.items() if name not in _NO_FIGURES})
    return rows, num_bad


def _rows(lines: list[str]) -> Iterator[list[str] | None]:
    """The cells of each line, none for one that is no CSV."""
    for line in lines:
        try:
            yield from csv.reader([line])
        except csv.Error:
            yield None
