"""Lines of networks over image sizes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Annotation

from tests.plots.conftest import check_drawing, legend, texts
from yolo_lightning.plots.study import StudyPoint, draw_study


def points(count: int, factor: float = 1.0) -> list[StudyPoint]:
    return [StudyPoint(64 * n, factor * n**2, 0.5 - 0.02 * abs(n - 5)) for n in range(1, count + 1)]


def numbers(figure):
    return [text for text in figure.findobj(Annotation) if text.get_visible()]


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_line_for_each_network(count: int):
    networks = {"yolov5n": points(count), "猫 $x$": points(count, 9.0), "_under": points(1, 3.0)}
    figure = draw_study(networks, "val of data.yaml")
    (axes,) = figure.axes
    assert legend(figure) == ["yolov5n", "猫 $x$", " _under"]
    assert "mAP over time per image\nval of data.yaml" in texts(figure)
    for line, expected in zip(axes.lines, networks.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [(point.milliseconds, point.map) for point in expected])
    assert len({line.get_color() for line in axes.lines}) == 3
    low, high = axes.get_ylim()
    assert high - low > 0.0999
    check_drawing(figure)


def test_times_far_apart_are_spread_by_a_logarithm():
    assert draw_study({"a": points(3)}).axes[0].get_xscale() == "log"
    assert draw_study({"a": points(3)[1:]}).axes[0].get_xscale() == "linear"
    assert draw_study({"a": [StudyPoint(64, 0.0, 0.0), StudyPoint(96, 9.0, 0.0)]}).axes[0].get_xscale() == "linear"


def test_numbers_do_not_lie_on_each_other():
    figure = draw_study({"a": points(11), "b": points(11), "c": points(11, 2.0)})
    shown = numbers(figure)
    boxes = [text.get_window_extent() for text in shown]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert {"64", "704"} <= {text.get_text() for text in shown}
    assert len(numbers(draw_study({"a": points(2)}))) == 2


def test_nothing():
    figure = draw_study({})
    assert "nothing was measured" in texts(figure)
    check_drawing(figure)
