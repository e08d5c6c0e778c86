from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_lightning.data.labels import parse_labels


@pytest.mark.parametrize("content", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_background(content: bytes) -> None:
    parsed = parse_labels(content, "a.txt", 2)
    assert (parsed.labels.shape, parsed.boxes_cxcywh.shape, parsed.points.shape) == ((0,), (0, 4), (0, 2))
    assert parsed.problems == []


@pytest.mark.parametrize(
    "content", [b"1 .5 .25 .125 1\n0 0 0 1 1\n", b"\xef\xbb\xbf1 .5\t.25 .125 1.0\r\n0.0 0 0 1e0 1"]
)
def test_keeps_rows_exactly_and_in_order(content: bytes) -> None:
    parsed = parse_labels(content, "a.txt", 2)
    assert parsed.labels.tolist() == [1, 0]
    assert parsed.labels.dtype == np.int64
    assert parsed.boxes_cxcywh.dtype == np.float32
    assert parsed.boxes_cxcywh.tolist() == [[0.5, 0.25, 0.125, 1.0], [0.0, 0.0, 1.0, 1.0]]
    assert parsed.problems == []


def test_each_row_is_a_box_or_a_polygon_by_itself() -> None:
    parsed = parse_labels(b"0 .5 .5 .25 .25\n1 .25 .5 .75 .5 .5 1\n1 0 0 1 0 1 1 0 1\n", "a.txt", 2)
    assert parsed.boxes_cxcywh.tolist() == [[0.5, 0.5, 0.25, 0.25], [0.5, 0.75, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    assert parsed.point_counts.tolist() == [0, 3, 4]
    assert parsed.points[:3].tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 1.0]]


def test_a_repeated_row_is_removed_and_reported() -> None:
    parsed = parse_labels(b"1 .5 .5 .2 .2\n0 .1 .1 .1 .1\n1 .50 .5 .2 .2\n", "a.txt", 2)
    assert parsed.labels.tolist() == [1, 0]
    (problem,) = parsed.problems
    assert (problem.line, problem.code, problem.left_out) == (3, "duplicate", False)
    assert str(problem) == "a.txt:3: repeats line 1, remove the row (it is not used)"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (b"0 .5 .5 .2", "columns"),
        (b"0 .5 .5 .2 .2 .9", "columns"),
        (b"0 .5 .5 .2 .2 .9 .9 .9", "columns"),
        (b"0", "columns"),
        (b"0,.5,.5,.2,.2", "number"),
        (b"cat .5 .5 .2 .2", "number"),
        (b"0 nan .5 .2 .2", "number"),
        (b"0 .5 inf .2 .2", "number"),
        (b"nan .5 .5 .2 .2", "number"),
        (b"-1 .5 .5 .2 .2", "class_range"),
        (b"2 .5 .5 .2 .2", "class_range"),
        (b"0.5 .5 .5 .2 .2", "class_integer"),
        (b"0 -.01 .5 .2 .2", "coordinate_range"),
        (b"0 .5 1.01 .2 .2", "coordinate_range"),
        (b"0 320 240 64 48", "coordinate_range"),
        (b"0 0 0 1 0 1 1.5", "coordinate_range"),
        (b"0 .5 .5 .2 .2 \xff", "encoding"),
        (b"\x00\x01\x02", "number"),
    ],
)
def test_a_bad_row_is_told_by_line_and_spoils_the_file(row: bytes, code: str) -> None:
    parsed = parse_labels(b"0 .5 .5 .1 .1\n\n" + row + b"\n1 .5 .5 .1 .1\n", "a.txt", 2)
    assert [(problem.file, problem.line, problem.code) for problem in parsed.problems] == [("a.txt", 3, code)]
    assert len(parsed.labels) == 0
    assert all((parsed.problems[0].left_out, parsed.problems[0].what, parsed.problems[0].fix))


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_problems(content: bytes) -> None:
    parsed = parse_labels(content, "a.txt", 3)
    assert len(parsed.labels) == len(parsed.boxes_cxcywh) == len(parsed.point_counts)
    assert ((parsed.boxes_cxcywh >= 0) & (parsed.boxes_cxcywh <= 1)).all()
    assert ((parsed.labels >= 0) & (parsed.labels < 3)).all()
