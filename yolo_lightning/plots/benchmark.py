"""How fast networks are in different runtimes, and how right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo_lightning.plots.style import class_label, finish, new_figure, run_colour, say
from yolo_lightning.plots.tradeoff import TradeoffPoint, draw_tradeoff, is_wide, scale_by_logarithm

__all__ = ["BenchmarkPoint", "draw_benchmark"]

_TIME = "milliseconds per image (median, one image at a time)"


@dataclass(frozen=True)
class BenchmarkPoint:
    """A network in a runtime.

    Args:
        network: Name of the network.
        candidate: Name of the way it is run.
        p50: Median milliseconds of an image.
        p95: Of 20 images one takes longer.
        map: YOLOv5's mAP50-95, 0…1; None if it was not measured.
    """

    network: str
    candidate: str
    p50: float
    p95: float
    map: float | None = None


def draw_benchmark(points: Sequence[BenchmarkPoint], about: str = "") -> Figure:
    """Draws mAP over latency, a line for each way to run networks; without mAP, bars of latency.

    Args:
        points: What was measured.
        about: On what, below the title.
    """
    if any(point.map is not None for point in points):
        return _draw_map(points, about)
    return _draw_bars(points, about)


def _draw_map(points: Sequence[BenchmarkPoint], about: str) -> Figure:
    several = len({point.network for point in points}) > 1
    lines: dict[str, list[TradeoffPoint]] = {}
    for point in points:
        if point.map is not None:
            label = point.network if several else point.candidate
            lines.setdefault(point.candidate, []).append(TradeoffPoint(label, point.p50, point.map))
    return draw_tradeoff(lines, title="mAP over latency", about=about, time=_TIME, legend_title="run by")


def _draw_bars(points: Sequence[BenchmarkPoint], about: str) -> Figure:
    """Those of a network together, the first one on top; a thin line goes on to p95."""
    networks = list(dict.fromkeys(point.network for point in points))
    figure = new_figure(8, max(2.6, 1.5 + 0.26 * (len(points) + len(networks))))
    axes = figure.subplots()
    axes.set_title(f"Latency\n{about}" if about else "Latency", fontsize=10)
    if not points:
        say(axes, "nothing was measured")
        return finish(figure)
    colours = {
        name: run_colour(position)[0]
        for position, name in enumerate(dict.fromkeys(point.candidate for point in points))
    }
    place, ticks = 0.0, []
    for network in networks:
        own = [point for point in points if point.network == network]
        if len(networks) > 1:
            axes.text(0, place, class_label(network, 60), fontsize=8, va="center", transform=axes.get_yaxis_transform())
            place += 1
        for point in own:
            _draw_bar(axes, place, point, colours[point.candidate])
            ticks.append((place, class_label(point.candidate, 40)))
            place += 1
        place += 0.4
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"{_TIME[:-1]}; thin: up to the 95th percentile)")
    axes.set_ylim(place - 0.6, -0.8)
    if is_wide([point.p50 for point in points]):
        scale_by_logarithm(axes)
    else:
        axes.set_xlim(0, 1.12 * max(point.p95 for point in points))
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return finish(figure)


def _draw_bar(axes: Axes, place: float, point: BenchmarkPoint, colour: str) -> None:
    axes.barh(place, point.p50, height=0.7, color=colour)
    axes.plot([point.p50, point.p95], [place, place], color=colour, linewidth=1)
    axes.annotate(
        f"{point.p50:.3g} ms", (point.p95, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7
    )
