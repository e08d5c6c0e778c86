"""Latency and mAP of networks in several runtimes."""

from __future__ import annotations

import pytest

from tests.plots.conftest import check_drawing, legend, texts
from yolo_lightning.plots.benchmark import BenchmarkPoint, draw_benchmark

CANDIDATES = [f"runtime-{number}" for number in range(11)]


def points(*networks: str, with_map: bool) -> list[BenchmarkPoint]:
    return [
        BenchmarkPoint(network, candidate, 10.0 + n + 5 * m, 12.0 + n + 5 * m, 0.3 + 0.1 * m if with_map else None)
        for m, network in enumerate(networks)
        for n, candidate in enumerate(CANDIDATES)
    ]


def test_a_line_for_each_runtime():
    figure = draw_benchmark(points("yolov5n", "猫 $x$", with_map=True), "64×64 pixels")
    assert legend(figure) == CANDIDATES
    assert {"yolov5n", "猫 $x$", "mAP over latency\n64×64 pixels"} <= set(texts(figure))
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == len(CANDIDATES)
    check_drawing(figure)


def test_points_of_a_single_network_are_named_by_runtime():
    figure = draw_benchmark(points("yolov5n", with_map=True))
    assert set(CANDIDATES[::10]) <= set(texts(figure))
    assert "yolov5n" not in texts(figure)
    check_drawing(figure)


@pytest.mark.parametrize("networks", [("yolov5n",), ("yolov5n", "_p6", "猫 $x$")])
def test_bars_without_map(networks: tuple[str, ...]):
    figure = draw_benchmark(points(*networks, with_map=False), "cpu, 1 thread")
    (axes,) = figure.axes
    assert len(axes.patches) == len(networks) * len(CANDIDATES)
    assert [bar.get_width() for bar in axes.patches][:3] == [10, 11, 12]
    assert [label.get_text() for label in axes.get_yticklabels()] == CANDIDATES * len(networks)
    assert "Latency\ncpu, 1 thread" in texts(figure)
    assert ("yolov5n" in texts(figure)) == (len(networks) > 1)
    check_drawing(figure)


def test_bars_far_apart_are_spread_by_a_logarithm():
    slow = BenchmarkPoint("n", "slow", 900.0, 1000.0)
    assert draw_benchmark([BenchmarkPoint("n", "fast", 9.0, 10.0), slow]).axes[0].get_xscale() == "log"


def test_nothing():
    figure = draw_benchmark([])
    assert "nothing was measured" in texts(figure)
    check_drawing(figure)
