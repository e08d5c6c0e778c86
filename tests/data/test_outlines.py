"""Boxes around the visible part of outlines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_lightning.data.outlines import outline_boxes
from yolo_lightning.data.warp import random_matrix, transform_boxes

NONE = np.zeros((0, 2), np.float32)
SQUARE = np.array([[10, 20], [30, 20], [30, 40], [10, 40]], np.float32)
# A bracket that opens to the left: two arms reach to x = -20, the upper one for y in 0…10, the lower for 40…50.
BRACKET = np.array([[-20, 0], [30, 0], [30, 50], [-20, 50], [-20, 40], [20, 40], [20, 10], [-20, 10]], np.float32)


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


@pytest.mark.parametrize("outlines", [[], [NONE], [NONE, NONE]])
def test_without_outlines_nothing_is_seen(outlines):
    boxes = outline_boxes(outlines, np.eye(3), (50, 60), (50, 60))
    assert (boxes.shape, boxes.dtype) == ((len(outlines), 4), np.float32)
    assert not boxes.any()


@pytest.mark.parametrize(
    ("outline", "matrix", "expected"),
    [
        (SQUARE, np.eye(3), [10, 20, 30, 40]),
        (SQUARE[::-1], shift(5, -3), [15, 17, 35, 37]),
        (SQUARE, shift(-20, 0), [0, 20, 10, 40]),  # cut at the left
        (SQUARE, shift(40, 30), [50, 50, 60, 60]),  # only its corner is seen
        (SQUARE, shift(-31, 0), [0, 0, 0, 0]),  # just outside
        (SQUARE * 9 - 100, np.eye(3), [0, 80, 60, 60]),  # covers the lower part: no corner of it is seen
        (SQUARE * 90 - 2000, np.eye(3), [0, 0, 60, 60]),  # covers all
        (SQUARE * 20 - 560, np.eye(3), [0, 0, 40, 60]),  # covers two corners of the picture
        (BRACKET, shift(20, 0), [20, 0, 50, 50]),  # its arms are cut by the canvas at x = 0
        (BRACKET, np.diag([2.5, 2.5, 1.0]) @ shift(0, -13), [50, 0, 60, 60]),  # between the arms there is nothing
        (SQUARE[:1], np.eye(3), [10, 20, 10, 20]),
        (SQUARE[:2], np.eye(3), [10, 20, 30, 20]),
    ],
)
def test_a_box_is_drawn_around_what_is_seen(outline, matrix, expected):
    expected = np.array(expected)
    if (expected[2:] < expected[:2]).any():
        expected = np.zeros(4)
    boxes = outline_boxes([NONE, outline, NONE], matrix, (60, 60), (60, 60))
    np.testing.assert_allclose(boxes, [[0] * 4, expected, [0] * 4], atol=1e-4)


def test_what_lies_behind_the_viewer_is_cut_off():
    matrix = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]])  # the horizon is at x = 10
    outline = np.array([[0, 5], [30, 5], [30, 6], [0, 6]], np.float32)
    boxes = outline_boxes([outline], matrix, (60, 60), (100, 100))
    np.testing.assert_allclose(boxes, [[0, 5, 100, 6 * 11]], rtol=1e-5)  # at x = 100/11 the depth is 1/11
    assert not outline_boxes([outline + np.float32([10, 0])], matrix, (60, 60), (100, 100)).any()


def seen_extent(outline, matrix, canvas, size):
    """The box around the moved points of a fine grid that lie inside the outline, found point by point."""
    y, x = (axis.ravel() / 4 for axis in np.mgrid[1 : 4 * canvas[0] : 2, 1 : 4 * canvas[1] : 2])
    inside = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    moved = np.stack([x, y, np.ones_like(x)])[:, inside]
    moved = matrix @ moved
    points = (moved[:2] / moved[2])[:, moved[2] > 0].T
    points = points[((points >= 0) & (points <= (size[1], size[0]))).all(1)]
    return np.concatenate([points.min(0), points.max(0)]) if len(points) > 20 else None


coordinate = st.floats(-20, 80, width=32)


@settings(deadline=None, max_examples=150)
@given(
    outline=st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9),
    seed=st.integers(0, 2**32 - 1),
    perspective=st.sampled_from([0.0, 0.003]),
)
def test_agrees_with_a_search_over_all_points(outline, seed, perspective):
    canvas, size = (60, 50), (40, 64)
    generator = np.random.default_rng(seed)
    options = {"degrees": 180.0, "translate": 0.3, "scale": 0.5, "shear": 15.0, "perspective": perspective}
    matrix = random_matrix(generator, canvas, size, **options).matrix
    points = np.array(outline, np.float32)
    (box,) = outline_boxes([points], matrix, canvas, size)
    expected = seen_extent(points.astype(float), matrix, canvas, size)
    if expected is not None:
        assert (box[:2] <= expected[:2] + 1e-3).all()
        assert (box[2:] >= expected[2:] - 1e-3).all()
    # and it never says more than the corners of the box do
    around = np.concatenate([points.min(0), points.max(0)])[None].clip(0, (50, 60, 50, 60))
    loose = transform_boxes(around, matrix, size)[0]
    if box.any() and loose.any():
        assert (box[:2] >= loose[:2] - 1e-3).all()
        assert (box[2:] <= loose[2:] + 1e-3).all()


@pytest.mark.parametrize("perspective", [0.0, 0.003])
def test_is_tight(perspective):
    canvas, size, distances = (60, 50), (40, 64), []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        options = {"degrees": 180.0, "translate": 0.3, "scale": 0.5, "shear": 15.0, "perspective": perspective}
        matrix = random_matrix(generator, canvas, size, **options).matrix
        centre, angles = generator.uniform(0, 50, 2), np.sort(generator.uniform(0, 2 * np.pi, 7))
        radii = generator.uniform(15, 40, (7, 1))
        outline = centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        expected = seen_extent(outline, matrix, canvas, size)
        if expected is not None:
            distances.append(np.abs(outline_boxes([outline], matrix, canvas, size)[0] - expected))
    assert len(distances) > 200
    assert np.median(distances) < 0.6  # the grid's step, enlarged
    assert np.quantile(distances, 0.95) < 3  # a thin tip falls between its points


def test_objects_do_not_mix():
    outlines = [SQUARE, BRACKET, NONE, SQUARE + 25, SQUARE * 90 - 2000, SQUARE - 500]
    generator = np.random.default_rng(0)
    matrix = random_matrix(generator, (60, 60), (60, 60), degrees=30.0, scale=0.5).matrix
    together = outline_boxes(outlines, matrix, (60, 60), (60, 60))
    alone = [outline_boxes([points], matrix, (60, 60), (60, 60))[0] for points in outlines]
    np.testing.assert_array_equal(together, alone)
    assert [bool(box.any()) for box in together] == [True, True, False, True, True, False]
