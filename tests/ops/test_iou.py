from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolo_lightning.ops import cxcywh_to_xyxy, iou

KINDS = ["iou", "giou", "diou", "ciou"]
SIDE = st.floats(0.1, 300)
START = st.floats(-100, 600)
BOX = st.tuples(START, START, SIDE, SIDE).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(golden, kind):
    cases = np.load(golden / "ciou.npz", allow_pickle=False)
    boxes1, boxes2 = (cxcywh_to_xyxy(torch.from_numpy(cases[name]).double()) for name in ("a_xywh", "b_xywh"))
    np.testing.assert_allclose(iou(boxes1, boxes2, kind), cases[kind], atol=1e-6)
    centred1, centred2 = (torch.from_numpy(cases[name]).double() for name in ("a_xywh", "b_xywh"))
    np.testing.assert_allclose(iou(centred1, centred2, kind, fmt="cxcywh"), cases[kind], atol=1e-6)
    np.testing.assert_allclose(iou(boxes1.float(), boxes2.float(), kind), cases[kind], atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (2, 5, 4), (4,)])
def test_is_elementwise(kind, shape):
    boxes = cxcywh_to_xyxy(torch.rand(shape) + 0.1)
    assert iou(boxes, boxes, kind).shape == shape[:-1]
    torch.testing.assert_close(iou(boxes, boxes, kind), torch.ones(shape[:-1]), atol=1e-4, rtol=0)


def test_known_values():
    boxes1, boxes2 = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    assert iou(boxes1, boxes2).item() == pytest.approx(1 / 7)
    assert iou(boxes1, boxes2, "giou").item() == pytest.approx(1 / 7 - 2 / 9)
    assert iou(boxes1, boxes2, "diou").item() == pytest.approx(1 / 7 - 2 / 18)
    assert iou(boxes1, boxes2, "ciou").item() == pytest.approx(1 / 7 - 2 / 18)
    flat = torch.tensor([[0.0, 0.0, 2.0, 1.0]])
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    expected = 0.5 - 0.25 / 8 - v * v / (v + 0.5)
    assert iou(boxes1, flat, "ciou").item() == pytest.approx(expected, rel=1e-5)


@given(BOX, BOX)
def test_is_symmetric_and_in_range(box1, box2):
    boxes1, boxes2 = torch.tensor([box1], dtype=torch.float64), torch.tensor([box2], dtype=torch.float64)
    plain = iou(boxes1, boxes2)
    assert 0 <= plain.item() <= 1
    for kind in KINDS:
        value = iou(boxes1, boxes2, kind)
        torch.testing.assert_close(value, iou(boxes2, boxes1, kind))
        assert -2 < value.item() <= plain.item() + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_for_degenerate_boxes(kind):
    boxes = torch.tensor(
        [[1.0, 1, 1, 1], [1, 1, 5, 1], [1, 1, 1, 5], [0, 0, 4, 4], [90, 90, 95, 99]], requires_grad=True
    )
    targets = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    iou(boxes, targets, kind).sum().backward()
    assert boxes.grad.isfinite().all()


def test_the_aspect_weight_of_ciou_has_no_gradient():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0.5, 0.0, 4.0, 3.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(iou(boxes, targets, "ciou").sum(), boxes)
    difference = torch.autograd.grad((iou(boxes, targets, "diou") - iou(boxes, targets, "ciou")).sum(), boxes)[0]
    assert not difference.equal(torch.zeros_like(difference))
    # v·α with α constant: only v is differentiated.
    width, height = 4.0, 2.0
    angle = math.atan(3.5 / 3.0) - math.atan(width / height)
    v = 4 / math.pi**2 * angle**2
    weight = v / (v - iou(boxes, targets).item() + 1 + 1e-7)
    dv_dwidth = 4 / math.pi**2 * 2 * angle * -(height / (width**2 + height**2))
    assert difference[0, 2].item() == pytest.approx(weight * dv_dwidth, rel=1e-6)
    assert gradient.isfinite().all()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind of IoU 'siou'"):
        iou(torch.zeros(1, 4), torch.zeros(1, 4), "siou")


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="unknown form of boxes 'xywh'; choose xyxy or cxcywh"):
        iou(torch.zeros(1, 4), torch.zeros(1, 4), fmt="xywh")
