"""Cells, numbers and names."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plots.conftest import check_drawing, class_names, texts
from yolo_lightning.plots.confusion import draw_confusion, normalised_columns


def make_matrix(num_classes: int) -> np.ndarray:
    matrix = np.random.default_rng(0).poisson(0.5, (num_classes + 1, num_classes + 1))
    matrix[np.arange(num_classes), np.arange(num_classes)] = 20
    matrix[-1, -1] = 0
    return matrix


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("num_classes", [1, 5, 28, 80, 1000])
def test_matrix(num_classes: int, normalise: bool):
    matrix = make_matrix(num_classes)
    figure = draw_confusion(matrix, class_names(num_classes), normalise=normalise)
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    assert shown is not None
    expected = normalised_columns(matrix) if normalise else matrix
    drawn = shown.filled(0)  # type: ignore[attr-defined]
    if num_classes <= 80:
        np.testing.assert_allclose(drawn, expected)
    else:  # spread, so that single cells are seen
        assert (drawn >= expected).all()
        assert drawn.max() == expected.max()
    numbers = [text.get_text() for text in axes.texts]
    if num_classes < 29:
        values = expected[expected > 0]
        assert numbers == [f"{value:.2f}" if normalise else str(value) for value in values]
    else:
        assert not numbers
    for axis in (axes.xaxis, axes.yaxis):
        names, places = [label.get_text() for label in axis.get_ticklabels()], axis.get_ticklocs()
        assert len(names) <= 51
        assert (names[-1], places[-1]) == ("background", num_classes)
        assert names[0] == "straße"
        assert min(np.diff(places)) >= num_classes / 51
    check_drawing(figure)
    extent = axes.get_window_extent()
    assert min(extent.height, extent.width) > num_classes + 1  # every cell has a pixel of its own


def test_columns_are_shares():
    shares = normalised_columns(np.array([[3, 0, 2], [1, 0, 2], [0, 0, 0]]))
    np.testing.assert_allclose(shares, [[0.75, 0, 0.5], [0.25, 0, 0.5], [0, 0, 0]])


def test_large_counts_are_short():
    figure = draw_confusion(np.array([[12_345, 1_234_567], [9_999, 0]]), ("a",))
    assert [text.get_text() for text in figure.axes[0].texts] == ["12k", "1.2M", "9999"]


def test_nothing_labelled_or_detected():
    figure = draw_confusion(np.zeros((3, 3), np.int64), class_names(2))
    title = figure.axes[0].get_title()
    assert "no labels" in title
    assert "nothing was detected" in title
    assert "猫" in texts(figure)
    check_drawing(figure)
    assert "no labels" not in draw_confusion(np.array([[0, 0], [3, 0]]), ("a",)).axes[0].get_title()
