"""How right networks are against how long they take, over image sizes."""

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

__all__ = ["StudyPoint", "draw_study"]

_LOGARITHMIC = 4.0
"""Times that differ by more than this factor are spread by a logarithm."""
_SMALLEST_RANGE = 0.1
"""Of mAP, so that chance does not look like much."""
_FLAT = 0.01
"""Difference of mAP that makes no slope."""


@dataclass(frozen=True)
class StudyPoint:
    """A network at an image size.

    Args:
        image_size: Side in pixels.
        milliseconds: For an image.
        map: YOLOv5's mAP50-95, 0…1.
    """

    image_size: int
    milliseconds: float
    map: float


def draw_study(networks: Mapping[str, Sequence[StudyPoint]], about: str = "") -> Figure:
    """A line for each network, its points named by the image size: further up is more right, further left is faster.

    A number that would lie on another is left out.

    Args:
        networks: The points of each network by its name, by ascending image size.
        about: On what it was measured, below the title.
    """
    figure = new_figure(8, 4.6)
    axes = figure.subplots()
    title = "mAP over time per image"
    axes.set_title(f"{title}\n{about}" if about else title, fontsize=10)
    times = [point.milliseconds for points in networks.values() for point in points]
    if not times:
        say(axes, "nothing was measured")
        return finish(figure)
    numbers = [
        number
        for position, (name, points) in enumerate(networks.items())
        for number in _draw_network(axes, position, name, points)
    ]
    axes.set(xlabel="milliseconds per image (preprocess, inference and postprocess)", ylabel="mAP50-95")
    if min(times) > 0 and max(times) > _LOGARITHMIC * min(times):
        _scale_by_logarithm(axes)
    axes.margins(x=0.06, y=0.1)
    _widen([point.map for points in networks.values() for point in points], axes)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside right upper", frameon=False, fontsize=9, title="at image sizes", title_fontsize=8, alignment="left"
    )
    finish(figure)
    _hide_overlapping(figure, numbers)
    return figure


def _draw_network(axes: Axes, position: int, name: str, points: Sequence[StudyPoint]) -> list[Annotation]:
    """Returns the numbers at the points, the ends of the line first."""
    colour, dashes = run_colour(position)
    axes.plot(
        [point.milliseconds for point in points],
        [point.map for point in points],
        color=colour,
        linestyle=dashes,
        linewidth=1.6,
        marker="o",
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=class_label(name, 40),
    )
    order = sorted(range(len(points)), key=lambda index: (index not in (0, len(points) - 1), index))
    return [_write_number(axes, points, index, colour) for index in order]


def _write_number(axes: Axes, points: Sequence[StudyPoint], index: int, colour: str) -> Annotation:
    """Above the point, on the side from which the line does not come."""
    before, point, after = points[max(0, index - 1)], points[index], points[min(index + 1, len(points) - 1)]
    rise = after.map - before.map
    side = 0 if abs(rise) < _FLAT else 1 if rise < 0 else -1
    return axes.annotate(
        str(point.image_size),
        (point.milliseconds, point.map),
        xytext=(3 * side, 5 - 2 * abs(side)),
        textcoords="offset points",
        ha={-1: "right", 0: "center", 1: "left"}[side],
        fontsize=7,
        color=colour,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _hide_overlapping(figure: Figure, numbers: Sequence[Annotation]) -> None:
    figure.draw_without_rendering()  # only then it is known where they are
    shown: list[BboxBase] = []
    for number in numbers:
        box = number.get_window_extent()
        number.set_visible(not any(box.overlaps(other) for other in shown))
        if number.get_visible():
            shown.append(box)


def _widen(values: Sequence[float], axes: Axes) -> None:
    low, high = min(values), max(values)
    if high - low < _SMALLEST_RANGE:
        low = max(0.0, (low + high - _SMALLEST_RANGE) / 2)
        axes.set_ylim(low, max(low + _SMALLEST_RANGE, high))


def _scale_by_logarithm(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
