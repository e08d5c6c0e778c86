"""Which classes are taken for which."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import maximum_filter

from yolo_lightning.plots.style import class_label, finish, new_figure

__all__ = ["BACKGROUND", "draw_confusion", "normalised_columns"]

_MOST_ANNOTATED = 30
_MOST_TICKS = 50
_MOST_CELLS = 300
BACKGROUND = "background"
"""What the last row and column are called."""


def draw_confusion(matrix: npt.NDArray[np.int64], class_names: Sequence[str], *, normalise: bool = False) -> Figure:
    """Detected classes over labelled ones, the background last.

    Numbers stand in the cells of fewer than 30 rows. With many classes every n-th is named, and colours tell the rest.

    Args:
        matrix: (classes + 1, classes + 1) counts, rows detected, columns labelled.
        class_names: Names of the classes.
        normalise: Shows shares of each column instead of counts: what became of the labels of a class.
    """
    size = len(matrix)
    side = min(12.0, max(5.0, 2.2 + 0.42 * size))
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    values = normalised_columns(matrix) if normalise else matrix.astype(np.float64)
    shown = np.ma.masked_equal(_visible(values), 0)
    highest = float(values.max(initial=0)) or 1.0
    # A root, since one frequent class would leave all the others white.
    norm = Normalize(0, 1) if normalise else PowerNorm(0.5, 0, highest)
    image = axes.imshow(shown, cmap=_blues(), norm=norm, interpolation="nearest", aspect="equal")
    axes.set_facecolor("white")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    if not normalise:
        bar.ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    bar.set_label("share of the labels" if normalise else "count")
    axes.set(xlabel="labelled", ylabel="detected", title=_title(matrix, normalise))
    _name_axes(axes, [*class_names, BACKGROUND])
    if size < _MOST_ANNOTATED:
        _annotate(axes, values, highest if not normalise else 1.0, normalise)
    return finish(figure)


def normalised_columns(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Shares of each column; 0 in a column without counts."""
    totals = matrix.sum(axis=0, keepdims=True)
    shares: npt.NDArray[np.float64] = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    return shares


def _visible(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cells of a very large matrix, that would be single pixels, spread to a few of them; higher ones cover lower."""
    spread = math.ceil(len(values) / _MOST_CELLS)
    return values if spread == 1 else np.asarray(maximum_filter(values, spread, mode="constant"))


def _blues() -> ListedColormap:
    """Without the palest, which a single cell on white needs."""
    return ListedColormap(colormaps["Blues"](np.linspace(0.2, 1, 256)))


def _title(matrix: npt.NDArray[np.int64], normalise: bool) -> str:
    title = "Confusion matrix, shares of each column" if normalise else "Confusion matrix, counts"
    if not matrix[:, :-1].any():
        title += "\nno labels"
    if not matrix[:-1].any():
        title += "\nnothing was detected above\nthe confidence of the matrix"
    return title


def _name_axes(axes: Axes, names: Sequence[str]) -> None:
    """Every n-th name so that they do not overlap; the background always."""
    size = len(names)
    step = math.ceil(size / _MOST_TICKS)
    positions = [position for position in range(0, size - 1, step) if size - 1 - position >= step or step == 1]
    positions.append(size - 1)
    texts = [class_label(names[position], 20) for position in positions]
    font_size = 8 if size < _MOST_ANNOTATED else 6.5
    rotation = 90 if size > 6 or max(map(len, texts[:-1])) > 8 else 0
    axes.set_xticks(positions, texts, rotation=rotation, fontsize=font_size)
    axes.set_yticks(positions, texts, fontsize=font_size)
    if size < _MOST_ANNOTATED:
        axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="0.9", linewidth=0.5)
        axes.tick_params(which="minor", length=0)


def _annotate(axes: Axes, values: npt.NDArray[np.float64], highest: float, normalise: bool) -> None:
    font_size = 9 if len(values) <= 12 else 6.5
    for row, column in np.argwhere(values > 0).tolist():
        value = values[row, column]
        share = value / highest if normalise else math.sqrt(value / highest)
        text = f"{value:.2f}" if normalise else _count(int(value))
        axes.text(
            column, row, text, ha="center", va="center", fontsize=font_size, color="white" if share > 0.55 else "0.15"
        )


def _count(value: int) -> str:
    if value < 10_000:
        return str(value)
    return f"{value / 1000:.0f}k" if value < 1_000_000 else f"{value / 1_000_000:.1f}M"
