from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolo_lightning.ops import clip_boxes, cxcywh_to_xyxy, to_original, xyxy_to_cxcywh
from yolo_lightning.types import ImageInfo

COORDINATE = st.floats(-1000, 1000, width=32)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 0, 4), (2, 3, 4), (4,)])
@pytest.mark.parametrize("function", [cxcywh_to_xyxy, xyxy_to_cxcywh, lambda boxes: clip_boxes(boxes, (10, 20))])
def test_shape_and_dtype_are_kept(function, shape):
    for dtype in (torch.float32, torch.float64):
        result = function(torch.rand(shape, dtype=dtype))
        assert result.shape == shape
        assert result.dtype == dtype


def test_known_box():
    xyxy, cxcywh = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[20.0, 40.0, 20.0, 40.0]])
    assert xyxy_to_cxcywh(xyxy).equal(cxcywh)
    assert cxcywh_to_xyxy(cxcywh).equal(xyxy)


@given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=4))
def test_conversions_are_inverse(rows):
    boxes = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_clip_boxes_takes_height_first_and_leaves_its_input():
    boxes = torch.tensor([[-5.0, -6.0, 100.0, 200.0], [1.0, 2.0, 3.0, 4.0]])
    before = boxes.clone()
    assert clip_boxes(boxes, (20, 30)).tolist() == [[0, 0, 30, 20], [1, 2, 3, 4]]
    assert boxes.equal(before)


@pytest.mark.parametrize(
    ("ratio", "padding"),
    [((1.0, 1.0), (0.0, 0.0)), ((0.5, 0.25), (3.0, 7.0)), ((2.0, 2.0), (0.0, 12.5))],
)
def test_to_original_undoes_the_fit_to_the_canvas(ratio, padding):
    info = ImageInfo("image.jpg", 0, (100, 200), ratio, padding)
    original = torch.tensor([[10.0, 20.0, 30.0, 40.0], [0.0, 0.0, 200.0, 100.0]])
    scale = torch.tensor([ratio[1], ratio[0]] * 2)
    canvas = original * scale + torch.tensor(padding * 2)
    before = canvas.clone()
    torch.testing.assert_close(to_original(canvas, info), original)
    assert canvas.equal(before)


def test_to_original_clips_to_the_image():
    info = ImageInfo("image.jpg", 0, (100, 200), (0.5, 0.5), (10.0, 0.0))
    assert to_original(torch.tensor([[0.0, -4.0, 500.0, 70.0]]), info).tolist() == [[0, 0, 200, 100]]
    assert to_original(torch.zeros(0, 4), info).shape == (0, 4)
