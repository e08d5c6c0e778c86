"""Losses, metrics and learning rates over the epochs of one run, or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from yolo_lightning.metrics.coco import AREA_RANGES
from yolo_lightning.plots.history import History
from yolo_lightning.plots.style import BOLD, class_label, finish, message_figure, new_figure, run_colour, say

__all__ = ["draw_rates", "draw_results"]

_RATES = ("lr/", "momentum/")
_SPLIT_COLOURS = {"train": BOLD, "val": "#d55e00", "test": "#009e73"}
_SPLIT_DASHES: dict[str, LineStyleType] = {"train": "-", "val": "--", "test": ":"}
_OTHER_DASHES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.")
_BEST = "val/fitness"
_COCO_FIGURES = ("map", "mar_")


@dataclass(frozen=True)
class _Panel:
    """A figure, and the columns that show it: a loss of training and validation share a panel."""

    title: str
    columns: tuple[str, ...]


def draw_results(runs: Mapping[str, History]) -> Figure:
    """All losses and metrics over epochs; a loss of training and validation on one axis.

    Args:
        runs: History of each run by its name. Runs differ by colour, and training and validation by dashes; of a
            single run the colours tell the splits, and a line where validation was best.
    """
    panels = _result_panels(runs)
    if not panels:
        return message_figure("Results", "no losses or metrics were logged")
    return _draw(runs, panels, mark_best=len(runs) == 1)


def draw_rates(runs: Mapping[str, History]) -> Figure:
    """Learning rates, and the momentum, at the end of each epoch.

    Args:
        runs: History of each run by its name.
    """
    panels = [
        _Panel({"lr/": "learning rate", "momentum/": "momentum"}[prefix], names)
        for prefix in _RATES
        if (names := tuple(name for name in _columns(runs) if name.startswith(prefix)))
    ]
    if not panels:
        return message_figure("Learning rate", "no learning rates were logged")
    return _draw(runs, panels, mark_best=False)


def _result_panels(runs: Mapping[str, History]) -> list[_Panel]:
    """Losses first, each figure with its splits; metrics of the same thing beside each other as they were logged."""
    groups: dict[str, list[str]] = {}
    for name in _columns(runs):
        if not name.startswith(_RATES):
            groups.setdefault(name.partition("/")[2] or name, []).append(name)
    panels = [_Panel(title, tuple(columns)) for title, columns in groups.items()]
    return sorted(panels, key=lambda panel: (not panel.title.startswith("loss"), panel.title))


def _columns(runs: Mapping[str, History]) -> Sequence[str]:
    return sorted({name for history in runs.values() for name in history.columns})


def _draw(runs: Mapping[str, History], panels: Sequence[_Panel], *, mark_best: bool) -> Figure:
    num_columns = min(len(panels), 5 if len(panels) > 8 else 4 if len(panels) > 2 else 2)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = new_figure(max(3.2 * num_columns, 7), 2.4 * num_rows + 0.8)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, runs, mark_best)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(panels) - num_columns) : len(panels)]:
        axes.set_xlabel("epoch")
    if handles := _legend(runs, panels, mark_best):
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False)
    return finish(figure)


def _draw_panel(axes: Axes, panel: _Panel, runs: Mapping[str, History], mark_best: bool) -> None:
    axes.set_title(panel.title, fontsize=10)
    unlabelled = False
    for position, history in enumerate(runs.values()):
        for index, name in enumerate(panel.columns):
            values = history.columns.get(name)
            known = np.isfinite(values) if values is not None else np.zeros(0, np.bool_)
            if values is None or not known.any():
                continue
            without_labels = _without_labels(name, values)
            if without_labels[known].all():
                unlabelled = True
                continue
            values = np.where(without_labels, np.nan, values)  # a gap, since the line would hide it
            colour, dashes = _line_style(name, index, position, len(runs))
            marker = "o" if known.sum() < 10 else None  # a single epoch makes no line
            axes.plot(
                history.epochs[known],
                values[known],
                color=colour,
                linestyle=dashes,
                marker=marker,
                markersize=3,
                linewidth=1.4,
                label=name,
            )
    if not axes.lines:
        say(axes, _no_labels(panel.title) if unlabelled else "no finite value")
        return
    for history in runs.values() if mark_best else ():
        if (best := _best_epoch(history)) is not None:
            axes.axvline(best, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    epochs = np.concatenate([history.epochs for history in runs.values()])
    margin = max(0.5, 0.03 * float(epochs.max() - epochs.min()))
    axes.set_xlim(float(epochs.min()) - margin, float(epochs.max()) + margin)  # the same in all panels


def _without_labels(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(n,) where a COCO figure is −1, which says that there was no label to find."""
    figure = name.partition("/")[2]
    result: npt.NDArray[np.bool_] = (values == -1) & figure.startswith(_COCO_FIGURES)
    return result


def _no_labels(figure: str) -> str:
    size = figure.rpartition("_")[2]
    return f"no {size} objects\nare labelled" if size in AREA_RANGES else "no labels"


def _line_style(name: str, index: int, position: int, num_runs: int) -> tuple[str, LineStyleType]:
    split = name.partition("/")[0]
    if num_runs > 1:
        colour, dashes = run_colour(position)
        return colour, dashes if dashes != "-" else _SPLIT_DASHES.get(split, _OTHER_DASHES[index % 4])
    if f"{split}/" in _RATES:
        return run_colour(index)[0], _OTHER_DASHES[index % 4]  # groups often have the same rate
    return _SPLIT_COLOURS.get(split, BOLD), "-"


def _best_epoch(history: History) -> float | None:
    fitness = history.columns.get(_BEST)
    if fitness is None or not np.isfinite(fitness).any() or len(fitness) < 2:
        return None
    return float(history.epochs[np.nanargmax(np.where(np.isfinite(fitness), fitness, np.nan))])


def _legend(runs: Mapping[str, History], panels: Sequence[_Panel], mark_best: bool) -> list[Line2D]:
    columns = [name for panel in panels for name in panel.columns]
    splits = [split for split in _SPLIT_COLOURS if any(name.startswith(f"{split}/") for name in columns)]
    if len(runs) > 1:
        handles = [
            Line2D(
                [], [], color=run_colour(position)[0], linestyle=run_colour(position)[1], label=class_label(name, 40)
            )
            for position, name in enumerate(runs)
        ]
        both = splits if len(splits) > 1 else []
        return handles + [Line2D([], [], color="0.3", linestyle=_SPLIT_DASHES[split], label=split) for split in both]
    if not splits:  # rates: the groups of parameters
        names = dict.fromkeys(name.partition("/")[2] for name in columns)
        return [
            Line2D([], [], color=run_colour(index)[0], linestyle=_OTHER_DASHES[index % 4], label=class_label(name, 40))
            for index, name in enumerate(names)
        ]
    handles = [Line2D([], [], color=_SPLIT_COLOURS[split], label=split) for split in splits]
    if mark_best and any(_best_epoch(history) is not None for history in runs.values()):
        handles.append(Line2D([], [], color="0.6", linestyle=":", label="best epoch"))
    return handles
