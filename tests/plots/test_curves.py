"""Lines of classes and their mean."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from tests.plots.conftest import check_drawing, class_names, legend, make_results, texts
from yolo_lightning.plots.curves import CURVES, compare_curves, draw_curve

FIGURES = {
    "precision_recall_curve": "mAP50 0.512",
    "precision_curve": "0.611 at 0.271 (best F1)",
    "recall_curve": "0.622 at 0.271 (best F1)",
    "f1_curve": "best F1 0.633 at 0.271",
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("num_classes", [1, 5, 80, 1000])
def test_curve(name: str, num_classes: int):
    results = make_results(num_classes)
    figure = draw_curve(CURVES[name], results, class_names(num_classes))
    axes = figure.axes[0]
    mean = axes.lines[-1]
    np.testing.assert_allclose(mean.get_ydata(), results[name].mean(axis=0))
    assert legend(figure)[0] == f"all classes: {FIGURES[name]}"
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1.02))
    assert axes.get_xlabel() == ("recall" if "recall_curve" in name and "precision" in name else "confidence")
    if num_classes <= 15:
        assert len(axes.lines) == num_classes + 1
        assert len(legend(figure)) == num_classes + 1
        assert all(line.get_linewidth() < mean.get_linewidth() for line in axes.lines[:-1])
    else:
        (lines,) = (artist for artist in axes.collections if isinstance(artist, LineCollection))
        assert len(lines.get_segments()) == num_classes
        assert legend(figure)[1:] == [f"{num_classes} classes"]
    check_drawing(figure)


def test_classes_without_labels_have_no_line():
    figure = draw_curve(CURVES["f1_curve"], make_results(80, labelled=4), class_names(80))
    assert len(figure.axes[0].lines) == 5
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata()[0], np.mean([0.5, 0.625, 0.75, 0.875]))  # type: ignore[index]
    assert legend(figure)[1:] == ["straße", "猫", "$x$ a$", " _under"]


def test_average_precision_of_each_class_is_in_the_legend():
    figure = draw_curve(CURVES["precision_recall_curve"], make_results(2), class_names(2))
    assert legend(figure) == ["all classes: mAP50 0.512", "straße 0.500", "猫 0.750"]


@pytest.mark.parametrize("name", CURVES)
def test_no_labels(name: str):
    figure = draw_curve(CURVES[name], make_results(3, labelled=0), class_names(3))
    assert "no class has labels" in texts(figure)
    check_drawing(figure)


def test_no_detections():
    figure = draw_curve(CURVES["f1_curve"], make_results(3, found=False), class_names(3))
    assert "nothing was detected" in texts(figure)
    check_drawing(figure)


def test_runs_are_overlaid():
    runs = {f"fit-{number}": make_results(number) for number in range(1, 26)}
    runs["empty"] = make_results(3, labelled=0)
    figure = compare_curves(CURVES["precision_recall_curve"], runs)
    lines = figure.axes[0].lines
    assert [line.get_ydata()[0] for line in lines[:2]] == [0.5, 0.625]  # type: ignore[index]
    assert legend(figure)[:2] == ["fit-1: mAP50 0.512", "fit-2: mAP50 0.512"]
    assert len(lines) == len(legend(figure)) == 25
    assert len({(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in lines[:24]}) == 24  # type: ignore[attr-defined]
    check_drawing(figure)
    assert "no class has labels" in texts(compare_curves(CURVES["f1_curve"], {"empty": runs["empty"]}))
