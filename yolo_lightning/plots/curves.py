"""Precision, recall and F1 over confidence, and precision over recall, at an overlap of .5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from yolo_lightning.plots.style import (
    BOLD,
    GREY,
    class_label,
    finish,
    line_colour,
    message_figure,
    new_figure,
    run_colour,
    say,
)

__all__ = ["CURVES", "Curve", "compare_curves", "draw_curve", "mean_curve"]

MOST_NAMED_CLASSES = 15
"""With more classes their lines are grey, and have no names."""


@dataclass(frozen=True)
class Curve:
    """One kind of curve.

    Args:
        key: Its (classes, 1000) values among the results of an evaluation.
        title: What stands above the plot.
        x: What the abscissa is.
        y: What the ordinate is.
    """

    key: str
    title: str
    x: str
    y: str


CURVES = {
    "precision_recall_curve": Curve("precision_recall_curve", "Precision over recall, IoU 0.5", "recall", "precision"),
    "precision_curve": Curve("precision_curve", "Precision over confidence, IoU 0.5", "confidence", "precision"),
    "recall_curve": Curve("recall_curve", "Recall over confidence, IoU 0.5", "confidence", "recall"),
    "f1_curve": Curve("f1_curve", "F1 over confidence, IoU 0.5", "confidence", "F1"),
}
"""All kinds by the name of their pictures."""


def draw_curve(curve: Curve, results: Mapping[str, Any], class_names: Sequence[str]) -> Figure:
    """A thin line for each class that has labels, and their mean.

    Args:
        curve: Which one.
        results: What ``evaluate`` returned.
        class_names: Names of the classes.
    """
    values: npt.NDArray[np.float64] = results[curve.key]
    present = np.flatnonzero(~np.isnan(values).all(axis=1)).tolist()
    if not present:
        return message_figure(curve.title, "no class has labels")
    points = results["curve_points"]
    named = len(present) <= MOST_NAMED_CLASSES
    figure = new_figure(8, 5)
    axes = figure.subplots()
    if named:
        for label in present:
            text = class_label(class_names[label])
            if curve.x == "recall":
                text = f"{text} {_figure(results['yolov5_map_50_per_class'][label])}"
            axes.plot(points, values[label], color=line_colour(label), linewidth=1, label=text)
    else:
        # one object, since a thousand lines take seconds
        lines = [np.column_stack([points, values[label]]) for label in present]
        alpha = max(0.15, min(0.6, 30 / len(present)))
        axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.6, alpha=alpha))
        axes.plot([], [], color=GREY, linewidth=1, label=f"{len(present)} classes")  # theirs is too pale for a legend
    axes.plot(points, mean_curve(values), color=BOLD, linewidth=2.6, label=_mean_label(curve, results))
    if not _has_detections(values, curve):
        axes.text(0.5, 0.5, "nothing was detected", transform=axes.transAxes, ha="center", color="0.35")
    _frame(figure, curve, num_last=1)
    return finish(figure)


def compare_curves(curve: Curve, runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The means of several runs.

    Args:
        curve: Which one.
        runs: What ``evaluate`` returned, by the name of the run.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    unlabelled = []
    for position, (name, results) in enumerate(runs.items()):
        mean = mean_curve(results[curve.key])
        if np.isnan(mean).all():
            unlabelled.append(name)
            continue
        colour, dashes = run_colour(position)
        label = f"{class_label(name, 32)}: {_mean_figure(curve, results)}"
        axes.plot(results["curve_points"], mean, color=colour, linestyle=dashes, linewidth=1.8, label=label)
    if len(unlabelled) == len(runs):
        say(axes, "no class has labels")
        axes.set_title(curve.title)
        return finish(figure)
    _frame(figure, curve)
    return finish(figure)


def mean_curve(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(1000,) mean of the classes that have labels; NaN if none has."""
    present = values[~np.isnan(values).all(axis=1)]
    return present.mean(axis=0) if len(present) else np.full(values.shape[1], np.nan)


def _frame(figure: Figure, curve: Curve, num_last: int = 0) -> None:
    """Axes and legend; the last lines, which lie over the others, are named first."""
    axes = figure.axes[0]
    axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    start = len(handles) - num_last
    handles, labels = handles[start:] + handles[:start], labels[start:] + labels[:start]
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


def _mean_label(curve: Curve, results: Mapping[str, Any]) -> str:
    return f"all classes: {_mean_figure(curve, results)}"


def _mean_figure(curve: Curve, results: Mapping[str, Any]) -> str:
    if curve.x == "recall":
        return f"mAP50 {_figure(results['yolov5_map_50'])}"
    at = f"at {_figure(results['confidence'])}"
    if curve.y == "F1":
        return f"best F1 {_figure(results['f1'])} {at}"
    return f"{_figure(results[curve.y])} {at} (best F1)"


def _figure(value: float) -> str:
    return f"{value:.3f}"


def _has_detections(values: npt.NDArray[np.float64], curve: Curve) -> bool:
    """Without detections all curves are 0, where there is anything to tell at all."""
    return bool(np.nan_to_num(values).any())
