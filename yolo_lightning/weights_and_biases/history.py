"""Which epochs W&B has."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

__all__ = ["MARK", "logged_epochs", "metrics_rows", "whole_rows"]

MARK = "trainer/global_step"
"""In the row of an epoch, and in no other."""


def logged_epochs(api: Any, path: str) -> set[int]:
    """Epochs whose rows a run has at W&B.

    Args:
        api: From :func:`~yolo_lightning.weights_and_biases.client.public_api`.
        path: ``entity/project/runid``.
    """
    return {int(row["epoch"]) for row in api.run(path).scan_history(keys=["epoch", MARK])}


def metrics_rows(directory: Path) -> list[dict[str, Any]]:
    """The rows of an epoch each that a run directory has, as they are logged: ``metrics.csv`` and ``times.csv``."""
    rows: dict[str, dict[str, Any]] = {}
    for name in ("metrics.csv", "times.csv"):
        if not (directory / name).is_file():
            continue
        with (directory / name).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["step"], {}).update(_numbers(row))
    return [row for row in rows.values() if "epoch" in row and MARK in row]


def whole_rows(directory: Path) -> list[dict[str, Any]]:
    """The rows without the last, if the process was killed while it came about; the epoch is trained again then."""
    rows = metrics_rows(directory)
    expected = {name for row in rows[:-1] for name in row if name.startswith(("train/", "val/"))}
    return rows if not rows or expected <= rows[-1].keys() else rows[:-1]


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: float(value) for name, value in row.items() if value and name not in _WHOLE}
    return values | {_WHOLE[name]: int(float(row[name])) for name in _WHOLE if row.get(name)}


_WHOLE = {"step": MARK, "epoch": "epoch"}
