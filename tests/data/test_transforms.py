"""Letterbox against the reference's figures, and boxes there and back."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.pictures import Pictures
from yolo_lightning.data.transforms import (
    Letterbox,
    fitted_size,
    letterbox,
    letterbox_geometry,
    letterbox_info,
    to_canvas,
)
from yolo_lightning.ops import to_original as tensor_to_original
from yolo_lightning.types import ImageInfo, SampleKey

sides = st.integers(1, 3000)


def to_original(boxes, info):
    """The way back that evaluation takes."""
    return tensor_to_original(torch.from_numpy(boxes), info).numpy()


def test_geometry_equals_the_reference(golden):
    cases = json.loads((golden / "letterbox.json").read_text())
    assert len(cases) > 20
    for case in cases:
        size, canvas = (case["h"], case["w"]), (case["size"], case["size"])
        geometry = letterbox_geometry(size, canvas, allow_upscale=case["scaleup"], minimal=case["auto"])
        assert geometry.canvas == tuple(case["out"]), case
        assert [geometry.ratio] * 2 == case["ratio"], case
        assert list(geometry.padding_wh) == case["pad_wh"], case


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_empty_image_is_an_error(size):
    with pytest.raises(ValueError, match="cannot fit"):
        letterbox_geometry(size, (64, 64))


@given(h=sides, w=sides, canvas=st.tuples(st.integers(32, 1280), st.integers(32, 1280)), upscale=st.booleans())
def test_full_padding_fills_the_canvas(h, w, canvas, upscale):
    geometry = letterbox_geometry((h, w), canvas, allow_upscale=upscale)
    assert geometry.canvas == canvas
    assert min(geometry.borders) >= 0
    top, bottom, left, right = geometry.borders
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1
    assert upscale or geometry.ratio <= 1


@given(h=st.integers(10, 3000), w=st.integers(10, 3000), size=st.sampled_from([320, 640, 1280]))
def test_minimal_padding_is_less_than_a_stride(h, w, size):
    geometry = letterbox_geometry((h, w), (size, size), minimal=True)
    assert all(0 <= border <= 16 for border in geometry.borders)
    assert all(side % 32 == 0 for side in geometry.canvas)


@settings(deadline=None)
@given(
    h=st.integers(1, 5000),
    w=st.integers(1, 5000),
    canvas=st.tuples(st.integers(32, 1280), st.integers(32, 1280)),
    fractions=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5),
)
def test_boxes_return_to_where_they_were(h, w, canvas, fractions):
    corners = np.sort(np.array(fractions, np.float32).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes = (corners * [w, h, w, h]).astype(np.float32)
    ratio = letterbox_geometry((h, w), canvas).ratio
    info = letterbox_info(ImageInfo("a", 0, (h, w)), (ratio, ratio), canvas)
    there = to_canvas(boxes, info)
    assert there.shape == boxes.shape
    assert (there >= -1e-2).all()
    assert (there <= np.array([canvas[1], canvas[0]] * 2) + 1e-2).all()
    np.testing.assert_allclose(to_original(there, info), boxes, atol=1e-3 / ratio + 1e-3)


def test_to_original_clips_to_the_image():
    info = ImageInfo("a", 0, (100, 200), (0.5, 0.5), (10.0, 20.0))
    np.testing.assert_array_equal(to_original(np.array([[0, 0, 500, 500]], np.float32), info), [[0, 0, 200, 100]])


@pytest.mark.parametrize(
    ("size", "limit", "fitted"),
    [
        ((480, 640), (640, 640), (480, 640)),
        ((333, 500), (640, 640), (427, 640)),  # rounded up from 426.24
        ((1080, 810), (640, 640), (640, 480)),
        ((2000, 300), (320, 640), (320, 48)),
        ((97, 61), (64, 640), (64, 41)),
    ],
)
def test_fitted_size(size, limit, fitted):
    assert fitted_size(size, limit) == fitted


def test_letterbox_keeps_pixels_and_pads_with_grey():
    image = np.random.default_rng(0).integers(0, 256, (33, 64, 3), np.uint8)
    out, geometry = letterbox(image, (64, 64))
    assert geometry.borders == (15, 16, 0, 0)
    np.testing.assert_array_equal(out[15:48], image)
    assert (out[:15] == 114).all()
    assert (out[48:] == 114).all()


@pytest.mark.parametrize(
    ("size", "canvas", "inner"),
    [
        ((480, 640), (512, 672), (480, 640)),  # the rectangular batch of 4:3 images at 640
        ((240, 320), (512, 672), (480, 640)),  # small images grow to the nominal size, not to the canvas
        ((960, 1280), (512, 672), (480, 640)),
        ((480, 640), (320, 320), (240, 320)),  # a canvas below the nominal size
        ((333, 500), (480, 672), (427, 640)),
    ],
)
def test_evaluation_sample_has_the_nominal_size(size, canvas, inner):
    box = np.array([[0, 0, size[1], size[0]]], np.float32)
    dataset = Pictures([np.full((*size, 3), 200, np.uint8)], [box])
    sample = Letterbox(image_size=640)(dataset, SampleKey(0, canvas))
    assert sample.image.shape == (*canvas, 3)
    rows, columns = (sample.image[..., 0] == 200).any(1), (sample.image[..., 0] == 200).any(0)
    assert (rows.sum(), columns.sum()) == inner
    covered = [columns.argmax(), rows.argmax(), columns.argmax() + inner[1], rows.argmax() + inner[0]]
    np.testing.assert_allclose(sample.boxes[0], covered, atol=0.5)
    np.testing.assert_allclose(to_original(sample.boxes, sample.info), box, atol=1e-3)
    assert sample.info.ratio == (inner[0] / size[0], inner[1] / size[1])


def test_without_a_nominal_size_the_image_fits_the_canvas():
    dataset = Pictures([np.full((50, 100, 3), 7, np.uint8)])
    sample = Letterbox()(dataset, SampleKey(0, (320, 160)))
    assert (sample.image[120:200] == 7).all()
    assert (sample.image[:120] == 114).all()
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == (0,)


def test_shrinks_by_area():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 200  # a quarter of each pixel of the result
    sample = Letterbox()(Pictures([stripes]), SampleKey(0, (16, 16)))
    assert (sample.image == 50).all()
