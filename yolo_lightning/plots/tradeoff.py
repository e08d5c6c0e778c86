"""How right networks are against how long they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import BboxBase

from yolo_lightning.plots.style import class_label, finish, new_figure, run_colour, say

__all__ = ["TradeoffPoint", "draw_tradeoff", "is_wide", "scale_by_logarithm"]

_LOGARITHMIC = 4.0
"""Times that differ by more than this factor are spread by a logarithm."""
_SMALLEST_RANGE = 0.1
"""Of mAP, so that chance does not look like much."""
_MARKERS = ("o", "s", "^")
_FLAT = 0.01
"""Difference of mAP that makes no slope."""


@dataclass(frozen=True)
class TradeoffPoint:
    """A measurement.

    Args:
        label: What stands at the point.
        milliseconds: How long it took.
        map: YOLOv5's mAP50-95, 0…1.
    """

    label: str
    milliseconds: float
    map: float


def draw_tradeoff(
    lines: Mapping[str, Sequence[TradeoffPoint]], *, title: str, about: str, time: str, legend_title: str
) -> Figure:
    """A line for each series of points: further up is more right, further left is faster.

    A label that would lie on another is left out.

    Args:
        lines: The points of each line by its name, in the order in which they are joined.
        title: Of the figure.
        about: On what it was measured, below the title.
        time: What took the time, at the axis.
        legend_title: Above the names of the lines.
    """
    figure = new_figure(8, 4.6)
    axes = figure.subplots()
    axes.set_title(f"{title}\n{about}" if about else title, fontsize=10)
    times = [point.milliseconds for points in lines.values() for point in points]
    if not times:
        say(axes, "nothing was measured")
        return finish(figure)
    labels = [
        label
        for position, (name, points) in enumerate(lines.items())
        for label in _draw_line(axes, position, name, points)
    ]
    axes.set(xlabel=time, ylabel="mAP50-95")
    if is_wide(times):
        scale_by_logarithm(axes)
    axes.margins(x=0.06, y=0.1)
    _widen([point.map for points in lines.values() for point in points], axes)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside right upper", frameon=False, fontsize=9, title=legend_title, title_fontsize=8, alignment="left"
    )
    finish(figure)
    _hide_overlapping(figure, labels)
    return figure


def _draw_line(axes: Axes, position: int, name: str, points: Sequence[TradeoffPoint]) -> list[Annotation]:
    """Returns the labels at the points, the ends of the line first."""
    colour, dashes = run_colour(position)
    axes.plot(
        [point.milliseconds for point in points],
        [point.map for point in points],
        color=colour,
        linestyle=dashes,
        linewidth=1.6,
        marker=_MARKERS[position // 8 % len(_MARKERS)],  # the colours begin again after eight
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=class_label(name, 40),
    )
    order = sorted(range(len(points)), key=lambda index: (index not in (0, len(points) - 1), index))
    return [_write_label(axes, points, index, colour) for index in order]


def _write_label(axes: Axes, points: Sequence[TradeoffPoint], index: int, colour: str) -> Annotation:
    """Above the point, on the side from which the line does not come."""
    before, point, after = points[max(0, index - 1)], points[index], points[min(index + 1, len(points) - 1)]
    rise = after.map - before.map
    side = 0 if abs(rise) < _FLAT else 1 if rise < 0 else -1
    return axes.annotate(
        class_label(point.label),
        (point.milliseconds, point.map),
        xytext=(3 * side, 5 - 2 * abs(side)),
        textcoords="offset points",
        ha={-1: "right", 0: "center", 1: "left"}[side],
        fontsize=7,
        color=colour,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _hide_overlapping(figure: Figure, labels: Sequence[Annotation]) -> None:
    figure.draw_without_rendering()  # only then it is known where they are
    shown: list[BboxBase] = []
    for label in labels:
        box = label.get_window_extent()
        label.set_visible(not any(box.overlaps(other) for other in shown))
        if label.get_visible():
            shown.append(box)


def _widen(values: Sequence[float], axes: Axes) -> None:
    low, high = min(values), max(values)
    if high - low < _SMALLEST_RANGE:
        low = max(0.0, (low + high - _SMALLEST_RANGE) / 2)
        axes.set_ylim(low, max(low + _SMALLEST_RANGE, high))


def is_wide(times: Sequence[float]) -> bool:
    """Whether times are so far apart that a logarithm is needed to see them."""
    return min(times) > 0 and max(times) > _LOGARITHMIC * min(times)


def scale_by_logarithm(axes: Axes) -> None:
    """Spreads the times of an axis, with plain numbers at it."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
