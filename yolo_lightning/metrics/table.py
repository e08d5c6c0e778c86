"""The table of results by class that is printed after an evaluation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["per_class_table", "table_text"]

_COLUMNS = {
    "P": ("precision", "precision_per_class"),
    "R": ("recall", "recall_per_class"),
    "mAP50": ("yolov5_map_50", "yolov5_map_50_per_class"),
    "mAP50-95": ("yolov5_map", "yolov5_map_per_class"),
}


def per_class_table(result: Mapping[str, Any], class_names: Sequence[str]) -> Table:
    """Tabulates the YOLOv5 reading: all classes first, then each class that has labels.

    Args:
        result: What ``DetectionMetrics.compute`` returned.
        class_names: Names of the classes.

    Returns:
        A table that a ``rich`` console prints at its width; long names are cut.
    """
    unlabelled = sum(count == 0 for count in result["num_instances_per_class"])
    caption = f"{unlabelled} of {len(class_names)} classes have no labels and are not shown" if unlabelled else None
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=40)
    for name in ("images", "instances", *_COLUMNS):
        table.add_column(name, justify="right", no_wrap=True)
    _add_row(table, "all", result["num_images"], result["num_instances"], [result[key] for key, _ in _COLUMNS.values()])
    for i in np.flatnonzero(result["num_instances_per_class"]).tolist():
        counts = result["num_images_per_class"][i], result["num_instances_per_class"][i]
        _add_row(table, class_names[i], *counts, [result[key][i] for _, key in _COLUMNS.values()])
    return table


def table_text(table: Table, width: int = 100) -> str:
    """Renders a table as plain text for logs and files, at most ``width`` columns wide."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    lines = (line.rstrip() for line in capture.get().splitlines())
    return "\n".join(line for line in lines if line)


def _add_row(table: Table, name: str, num_images: int, num_instances: int, values: Sequence[float]) -> None:
    cells = (f"{value:.3f}" for value in values)
    table.add_row(
        Text(_one_line(name)), str(num_images), str(num_instances), *cells, style="bold" if not table.rows else None
    )


def _one_line(name: str) -> str:
    return " ".join(name.split())
