"""The labels of a data set: how many of each class, where, and how large."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo_lightning.plots.label_statistics import NUM_BINS, PAIRS, LabelStatistics
from yolo_lightning.plots.style import BOLD, class_label, finish, line_colour, message_figure, new_figure

__all__ = ["draw_correlogram", "draw_labels"]

_MOST_NAMED_BARS = 40
_NUM_TOP = 12
_AXES = ("x", "y", "width", "height")


def draw_labels(statistics: LabelStatistics) -> Figure:
    """Boxes by class, and heat maps of their centres and sizes.

    Up to 40 classes are in their own order with a bar and a name each; more are sorted, and the most frequent named.
    """
    title = _title(statistics)
    if statistics.num_boxes == 0:
        return message_figure(title, "no labels")
    figure = new_figure(11, 8.5)
    figure.suptitle(title)
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.35))
    bars = figure.add_subplot(grid[0, :])
    if len(statistics.counts) <= _MOST_NAMED_BARS:
        _draw_named_bars(bars, statistics)
    else:
        _draw_sorted_bars(bars, statistics)
    bars.set_ylabel("boxes")
    if bars.get_yscale() == "linear":
        bars.yaxis.set_major_locator(MaxNLocator(integer=True))
    for column, (first, second, name) in enumerate((("x", "y", "centres"), ("width", "height", "sizes"))):
        axes = figure.add_subplot(grid[1, column])
        _draw_heat(axes, statistics.histograms[PAIRS.index((first, second))], image_like=name == "centres")
        axes.set(title=f"{name} of the boxes, as shares of the image", xlabel=first, ylabel=second, aspect="equal")
    return finish(figure)


def draw_correlogram(statistics: LabelStatistics) -> Figure:
    """Histograms of x, y, width and height of the boxes, and of every two of them."""
    title = _title(statistics)
    if statistics.num_boxes == 0:
        return message_figure(title, "no labels")
    figure = new_figure(9, 9)
    figure.suptitle(f"{title}; centre and size as shares of the image")
    grid = figure.subplots(4, 4)
    for row, second in enumerate(_AXES):
        for column, first in enumerate(_AXES):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            if column == row:
                axes.stairs(_marginal(statistics, first), np.linspace(0, 1, NUM_BINS + 1), fill=True, color=BOLD)
                axes.set(xlim=(0, 1), yticks=[])
            else:
                _draw_heat(axes, statistics.histograms[PAIRS.index((first, second))], image_like=second == "y")
            axes.tick_params(labelsize=7, labelleft=column == 0 and row > 0, labelbottom=row == 3)
            if row == 3:
                axes.set_xlabel(first)
            if column == 0:
                axes.set_ylabel(second if row else "boxes")
    return finish(figure)


def _title(statistics: LabelStatistics) -> str:
    background = f", {statistics.num_background:,} without" if statistics.num_background else ""
    return f"{statistics.num_boxes:,} boxes in {statistics.num_images:,} training images{background}"


def _draw_named_bars(axes: Axes, statistics: LabelStatistics) -> None:
    positions = np.arange(len(statistics.counts))
    colours = [line_colour(label) for label in positions.tolist()]
    bars = axes.bar(positions, statistics.counts, color=colours, width=0.8)
    names = [class_label(name, 18) for name in statistics.class_names]
    turned = len(names) > 8 or max(map(len, names)) * len(names) > 90
    axes.set_xticks(positions, names, rotation=90 if turned else 0, fontsize=8)
    axes.set_xlim(-0.6, max(len(names), 3) - 0.4 if len(names) > 1 else 1.6)
    if len(names) == 1:
        axes.set_xlim(-1.5, 1.5)
    if len(names) <= 20:
        axes.bar_label(bars, [f"{count:,}" for count in statistics.counts.tolist()], fontsize=8, padding=1)
        axes.margins(y=0.12)


def _draw_sorted_bars(axes: Axes, statistics: LabelStatistics) -> None:
    order = np.argsort(-statistics.counts, kind="stable")
    counts = statistics.counts[order]
    axes.stairs(counts, np.arange(len(counts) + 1) - 0.5, fill=True, color=BOLD)
    axes.set_xlim(-0.5, len(counts) - 0.5)
    if counts[0] > 100 * max(1, np.median(counts)):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")  # its own needs mathematical text
        axes.set_ylim(bottom=0.5)
    axes.set_xlabel(f"{len(counts)} classes by their boxes; {int((counts == 0).sum())} have none")
    top = order[:_NUM_TOP].tolist()
    lines = [
        f"{rank + 1}. {class_label(statistics.class_names[label])}  {statistics.counts[label]:,}"
        for rank, label in enumerate(top)
    ]
    axes.text(
        0.985,
        0.96,
        "\n".join(lines),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        linespacing=1.3,
        bbox={"facecolor": "white", "edgecolor": "0.85", "alpha": 0.85},
    )


def _draw_heat(axes: Axes, histogram: npt.NDArray[np.int64], *, image_like: bool) -> None:
    """Cells without a box are white; y goes down where the picture is of places in an image."""
    axes.imshow(
        np.ma.masked_equal(histogram.T, 0),
        cmap="viridis_r",
        norm=PowerNorm(0.5, 0, max(1, int(histogram.max()))),
        extent=(0, 1, 1, 0) if image_like else (0, 1, 0, 1),
        origin="upper" if image_like else "lower",
        aspect="auto",
        interpolation="nearest",
    )


def _marginal(statistics: LabelStatistics, name: str) -> npt.NDArray[np.int64]:
    for index, pair in enumerate(PAIRS):
        if name in pair:
            return np.asarray(statistics.histograms[index].sum(axis=1 - pair.index(name)))
    raise ValueError(name)
