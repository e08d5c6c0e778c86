from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.conftest import FakeHead, make_batch
from yolo_lightning.losses import AnchorRatioAssigner

SIZE = (64, 96)


def assign(boxes, labels=None, image_index=None, threshold=4.0, head=None):
    head = head or FakeHead()
    batch = make_batch(boxes, labels, image_index, size=SIZE)
    raw = tuple(torch.zeros(2, 3, SIZE[0] // s, SIZE[1] // s, 8, dtype=batch.boxes.dtype) for s in head.strides)
    return AnchorRatioAssigner(threshold)(raw, batch, head.anchors, head.strides)


def oracle(boxes, labels, image_index, threshold, head):
    """The rule in plain Python: for each level a list of (image, anchor, row, column, label, x, y, w, h)."""
    levels = []
    for anchors, stride in zip(head.anchors.tolist(), head.strides, strict=True):
        height, width = SIZE[0] // stride, SIZE[1] // stride
        rows = {"centre": [], "left": [], "up": [], "right": [], "down": []}
        for a, (anchor_w, anchor_h) in enumerate(anchors):
            for (x1, y1, x2, y2), label, image in zip(boxes, labels, image_index, strict=True):
                x, y, w, h = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride, (x2 - x1) / stride, (y2 - y1) / stride
                ratios = [w * stride / anchor_w, h * stride / anchor_h]
                if not all(ratio > 0 and max(ratio, 1 / ratio) < threshold for ratio in ratios):
                    continue
                cells = {"centre": (math.floor(x), math.floor(y))}
                if x % 1 < 0.5 and x > 1:
                    cells["left"] = (math.floor(x - 0.5), math.floor(y))
                if y % 1 < 0.5 and y > 1:
                    cells["up"] = (math.floor(x), math.floor(y - 0.5))
                if (width - x) % 1 < 0.5 and width - x > 1:
                    cells["right"] = (math.floor(x + 0.5), math.floor(y))
                if (height - y) % 1 < 0.5 and height - y > 1:
                    cells["down"] = (math.floor(x), math.floor(y + 0.5))
                for step, (column, row) in cells.items():
                    column, row = min(max(column, 0), width - 1), min(max(row, 0), height - 1)
                    rows[step].append((image, a, row, column, label, x - column, y - row, w, h))
        levels.append([row for step in rows.values() for row in step])
    return levels


def rows_of(assignment):
    integers = torch.stack((*assignment.index, assignment.labels), dim=1).tolist()
    return [(*integer, *box) for integer, box in zip(integers, assignment.boxes_cxcywh.tolist(), strict=True)]


# Multiples of 1/2 px meet borders and middles of cells often, the others seldom.
COORDINATE_X = st.one_of(st.integers(0, 2 * SIZE[1]).map(lambda x: x / 2), st.floats(0, SIZE[1]))
COORDINATE_Y = st.one_of(st.integers(0, 2 * SIZE[0]).map(lambda y: y / 2), st.floats(0, SIZE[0]))
LABELLED = st.tuples(COORDINATE_X, COORDINATE_Y, COORDINATE_X, COORDINATE_Y, st.integers(0, 2), st.integers(0, 1)).map(
    lambda r: ((min(r[0], r[2]), min(r[1], r[3]), max(r[0], r[2]), max(r[1], r[3])), r[4], r[5])
)


@given(st.lists(LABELLED, max_size=6), st.sampled_from([1.5, 4.0]))
@settings(max_examples=150, deadline=None)
def test_equals_plain_python(labelled, threshold):
    boxes, labels, images = ([row[i] for row in labelled] for i in range(3))
    head = FakeHead()
    found = assign(torch.tensor(boxes, dtype=torch.float64), labels, images, threshold, head)
    for assignment, expected in zip(found, oracle(boxes, labels, images, threshold, head), strict=True):
        rows = rows_of(assignment)
        assert [row[:5] for row in rows] == [row[:5] for row in expected]
        torch.testing.assert_close(
            assignment.boxes_cxcywh, torch.tensor([row[5:] for row in expected], dtype=torch.float64).reshape(-1, 4)
        )


def test_no_boxes_no_positives():
    for assignment in assign([]):
        assert len(assignment) == 0
        assert assignment.boxes_cxcywh.shape == (0, 4)
        assert all(part.dtype == torch.int64 for part in (*assignment.index, assignment.labels))


@pytest.mark.parametrize(
    ("centre", "cells"),
    [
        ((28.8, 29.6), [(3, 3), (3, 4), (4, 3)]),
        ((25.6, 27.2), [(3, 3), (3, 2), (2, 3)]),
        ((24.0, 28.0), [(3, 3), (3, 2), (3, 3)]),
        ((28.0, 28.0), [(3, 3)]),
        ((4.0, 0.0), [(0, 0), (0, 0)]),
        ((1.0, 1.0), [(0, 0)]),
        ((96.0, 64.0), [(7, 11), (7, 11), (7, 11)]),
    ],
)
def test_cells_of_one_centre(centre, cells):
    """Rows and columns of cells at stride 8, in order; a border lists its cell twice, a middle has no neighbours."""
    x, y = centre
    fine = assign(torch.tensor([[x - 5, y - 6.5, x + 5, y + 6.5]], dtype=torch.float64), threshold=1.3)[0]
    assert list(zip(fine.row.tolist(), fine.column.tolist(), strict=True)) == cells
    assert fine.anchor.tolist() == [0] * len(cells)


def test_the_ratio_is_strict():
    head = FakeHead(anchors=torch.full((3, 3, 2), 8.0))
    for width, num_anchors in ((2.0, 0), (2.01, 3), (31.9, 3), (32.0, 0)):
        fine = assign([[28 - width / 2, 24.0, 28 + width / 2, 32.0]], head=head)[0]
        assert len(fine) == num_anchors


@pytest.mark.parametrize("box", [[5, 5, 5, 20], [5, 5, 5, 5], [20, 20, 5, 5], [float("nan")] * 4, [0, 0, 1e9, 1e9]])
def test_impossible_boxes_are_not_assigned(box):
    assert [len(level) for level in assign([box])] == [0, 0, 0]


def test_cells_stay_inside_for_boxes_outside():
    for assignment, stride in zip(assign([[-60.0, -60, -20, -20], [200, 200, 240, 260]]), (8, 16, 32), strict=True):
        assert 0 <= assignment.row.min() <= assignment.row.max() < SIZE[0] // stride
        assert 0 <= assignment.column.min() <= assignment.column.max() < SIZE[1] // stride


@pytest.mark.parametrize("threshold", [1.0, 0.0, -4.0, float("nan")])
def test_a_threshold_that_fits_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match="ratio_threshold"):
        AnchorRatioAssigner(threshold)
