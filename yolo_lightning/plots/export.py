"""The numbers behind the pictures, for tables and plots of one's own."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_lightning.paths import safe_name
from yolo_lightning.plots.confusion import BACKGROUND
from yolo_lightning.plots.curves import CURVES, mean_curve
from yolo_lightning.plots.run import Run

__all__ = ["export_comparison", "export_run"]

_CLASS_COLUMNS = {
    "images": "num_images_per_class",
    "labels": "num_instances_per_class",
    "precision": "precision_per_class",
    "recall": "recall_per_class",
    "f1": "f1_per_class",
    "map_50": "yolov5_map_50_per_class",
    "map": "yolov5_map_per_class",
}


def export_run(run: Run, output: Path) -> list[Path]:
    """Writes the figures as JSON, and classes, curves and confusion matrix as CSV; nothing for a run without them.

    Args:
        run: What the files of a run hold.
        output: Directory for the files; made if there is something to write.

    Raises:
        OSError: If a file cannot be written.
    """
    if run.results is None or run.evaluation is None:
        return []
    output.mkdir(parents=True, exist_ok=True)
    names, results = run.evaluation.class_names, run.results
    about = {"run": run.name, "split": run.evaluation.split, "epoch": run.evaluation.epoch, "classes": len(names)}
    figures = output / "figures.json"
    text = json.dumps({**about, **_scalars(results)}, indent=2, ensure_ascii=False, allow_nan=False)
    figures.write_text(f"{text}\n", encoding="utf-8")
    columns = [results[key].tolist() for key in _CLASS_COLUMNS.values()]
    files = [figures, _write(output / "classes.csv", ["class", *_CLASS_COLUMNS], zip(names, *columns, strict=True))]
    for name, curve in CURVES.items():
        values = results[curve.key]
        rows = zip(results["curve_points"].tolist(), mean_curve(values).tolist(), *values.tolist(), strict=True)
        files.append(_write(output / f"{name}.csv", [curve.x, "all classes", *names], rows))
    corner = "detected \\ labelled"
    matrix = (
        [name, *counts] for name, counts in zip([*names, BACKGROUND], results["confusion_matrix"].tolist(), strict=True)
    )
    files.append(_write(output / "confusion_matrix.csv", [corner, *names, BACKGROUND], matrix))
    return files


def export_comparison(runs: Collection[Run], output: Path) -> list[Path]:
    """Writes all numbers of each run into a folder of its name, and the figures of all runs as one CSV.

    Raises:
        OSError: If a file cannot be written.
    """
    evaluated = [run for run in runs if run.results is not None]
    if not evaluated:
        return []
    files = [file for run in evaluated for file in export_run(run, output / safe_name(run.name))]
    tables = [{"run": run.name, **_scalars(run.results or {})} for run in evaluated]
    columns = list(dict.fromkeys(name for table in tables for name in table))
    return [
        *files,
        _write(output / "comparison.csv", columns, ([table.get(name) for name in columns] for table in tables)),
    ]


def _scalars(results: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Single numbers; null where one is not a number, which JSON does not have."""
    numbers = {name: value for name, value in results.items() if isinstance(value, int | float)}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    """A value that is not a number leaves its cell empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([None if value != value else value for value in row] for row in rows)
    return path
