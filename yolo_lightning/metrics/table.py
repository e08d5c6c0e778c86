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

from yolo_lightning.operating_point import ClassThreshold, Measurement, OperatingPoint

__all__ = ["operating_point_table", "per_class_table", "table_text"]

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


def operating_point_table(point: OperatingPoint) -> Table:
    """Tabulates thresholds, precision and recall with intervals of 95 %: all classes, then each that has labels.

    Args:
        point: What ``choose_operating_point`` returned.

    Returns:
        A table that a ``rich`` console prints at its width; long names are cut.
    """
    evaluation = point.evaluation
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Operating point on {evaluation.split}: {point.target}",
        title_justify="left",
        caption=_operating_point_caption(point),
        caption_justify="left",
    )
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=18)
    for name in ("labels", "threshold", "P (95 %)", "R (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    _add_threshold(table, "all", point.overall, "", "")
    for chosen in point.classes:
        if chosen.measured.num_labels:
            _add_threshold(table, chosen.name, chosen.measured, f"{chosen.threshold:.3f}", _remark(chosen))
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


def _add_threshold(table: Table, name: str, measured: Measurement, threshold: str, remark: str) -> None:
    shares = (
        _with_interval(measured.precision, measured.precision_interval),
        _with_interval(measured.recall, measured.recall_interval),
    )
    style = "bold" if not table.rows else None
    table.add_row(Text(_one_line(name)), str(measured.num_labels), threshold, *shares, remark, style=style)


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")


def _remark(chosen: ClassThreshold) -> str:
    return ", ".join(["pooled"] * chosen.pooled + ["missed"] * (not chosen.reached))


def _operating_point_caption(point: OperatingPoint) -> str | None:
    shown = [chosen for chosen in point.classes if chosen.measured.num_labels]
    lines = []
    if any(chosen.pooled for chosen in shown):
        few = f"fewer than {point.evaluation.min_labels} labels, or none found"
        lines.append(f"pooled: {few}; the threshold is that of all classes together")
    if any(not chosen.reached for chosen in shown):
        lines.append("missed: the target is not reached; a threshold of its own comes as close as there is")
    if len(shown) < len(point.classes):
        unlabelled = f"{len(point.classes) - len(shown)} of {len(point.classes)} classes have no labels"
        lines.append(f"{unlabelled}; their threshold is that of all classes together, {point.pooled.threshold:.3f}")
    return "\n".join(lines) or None


def _one_line(name: str) -> str:
    return " ".join(name.split())
