from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from tests.losses.conftest import FakeHead, make_batch
from yolo_lightning.losses import AnchorRatioAssigner, Assigner, Assignment, FocalLoss, IoULoss, Term, YOLOv5Loss

TERMS = {"box", "objectness", "classification"}
BOXES = [[10.0, 12.0, 30.0, 40.0], [40.0, 20.0, 56.0, 50.0], [0.0, 0.0, 95.0, 63.0]]


@pytest.fixture
def batch():
    return make_batch(BOXES, [0, 2, 1], [0, 1, 1])


def flat_gradient(raw):
    return torch.cat([level.grad.flatten() for level in raw])


def test_without_boxes_only_objectness_counts(head):
    raw = head.raw()
    losses = YOLOv5Loss(head)(raw, make_batch([]))
    assert losses.keys() == TERMS
    assert losses["box"] == 0
    assert losses["classification"] == 0
    sum(losses.values()).backward()
    for level in raw:
        assert level.grad[..., 4].ne(0).all()
        assert level.grad[..., [0, 1, 2, 3, 5, 6, 7]].eq(0).all()


def test_only_positives_have_box_and_class_gradients(head, batch):
    raw = head.raw()
    loss = YOLOv5Loss(head)
    losses = loss(raw, batch)
    (losses["box"] + losses["classification"]).backward()
    for level, assignment in zip(raw, loss.assigner(raw, batch, head.anchors, head.strides), strict=True):
        positive = torch.zeros(level.shape[:4], dtype=torch.bool)
        positive[assignment.index] = True
        assert positive.any()
        assert level.grad[~positive].eq(0).all()
        assert level.grad[positive][:, [0, 1, 2, 3, 5, 6, 7]].ne(0).any(0).all()
        assert level.grad[..., 4].eq(0).all()


def test_terms_are_scalars_and_gained(head, batch):
    losses = YOLOv5Loss(head)(head.raw(), batch)
    double = YOLOv5Loss(head, box=Term(IoULoss, 0.1))(head.raw(), batch)
    assert all(loss.shape == () and loss.dtype == torch.float32 for loss in losses.values())
    assert double["box"].item() == pytest.approx(2 * losses["box"].item())
    assert double["objectness"] == losses["objectness"]


def test_one_class_has_no_classification():
    head = FakeHead(num_classes=1)
    raw = head.raw()
    losses = YOLOv5Loss(head)(raw, make_batch(BOXES))
    sum(losses.values()).backward()
    assert losses["classification"] == 0
    assert all(level.grad[..., 5].eq(0).all() for level in raw)


def test_the_image_size_scales_objectness_and_may_be_set_later(head, batch):
    loss = YOLOv5Loss(head)
    reference = loss(head.raw(), batch)
    assert YOLOv5Loss(head, image_size=(320, 640)).gains["objectness"] == pytest.approx(0.5)
    loss.image_size = 1280
    assert loss.image_size == (1280, 1280)
    large = loss(head.raw(), batch)
    assert large["objectness"].item() == pytest.approx(4 * reference["objectness"].item())
    assert large["box"] == reference["box"]


def test_smoothed_class_targets_are_what_the_criterion_sees(head, batch):
    seen = []

    class Spy(nn.Module):
        def forward(self, predictions, targets):
            seen.append(targets)
            return predictions.sum() * 0

    YOLOv5Loss(head, classification=Term(Spy, 1.0), label_smoothing=0.2)(head.raw(), batch)
    for targets in seen:
        assert targets.sort(dim=1).values.tolist() == [pytest.approx([0.1, 0.1, 0.9])] * len(targets)
    assert {int(row.argmax()) for targets in seen for row in targets} == {0, 1, 2}


def test_box_criterion_sees_cells(head):
    """A prediction of zero logits is the anchor, centred in its cell."""
    seen = []

    class Spy(nn.Module):
        def forward(self, predictions, targets):
            seen.append((predictions, targets))
            return predictions.sum() * 0

    raw = tuple(torch.zeros_like(level) for level in head.raw())
    loss = YOLOv5Loss(head, partial(AnchorRatioAssigner, 1.2), box=Term(Spy, 1.0))
    loss(raw, make_batch([[31.0, 29.0, 47.0, 59.0]]))
    ((predictions, targets),) = seen
    assert predictions[0].tolist() == [4 / 8, 4 / 8, 16 / 8, 30 / 8]
    assert targets[0].tolist() == [(39 - 32) / 8, (44 - 40) / 8, 16 / 8, 30 / 8]


class TwicePerCell(Assigner):
    """Assigns one cell two boxes."""

    def __init__(self, boxes, swap):
        super().__init__()
        self.boxes, self.swap = boxes, swap

    def forward(self, raw, batch, anchors, strides):
        zero = torch.zeros(2, dtype=torch.int64)
        boxes = self.boxes.flip(0) if self.swap else self.boxes
        none = Assignment(zero[:0], zero[:0], zero[:0], zero[:0], torch.zeros(0, 4), zero[:0])
        return [Assignment(zero, zero, zero + 1, zero + 2, boxes, zero), none, none]


@pytest.mark.parametrize("swap", [False, True])
def test_of_two_boxes_for_one_prediction_the_last_sets_the_objectness(head, swap):
    good, bad = [0.5, 0.5, 10 / 8, 13 / 8], [0.5, 0.5, 20 / 8, 26 / 8]
    seen = []

    class Spy(nn.Module):
        def forward(self, predictions, targets):
            seen.append(targets)
            return predictions.sum() * 0

    raw = tuple(torch.zeros_like(level) for level in head.raw())
    assigner = partial(TwicePerCell, torch.tensor([good, bad]), swap)
    YOLOv5Loss(head, assigner, objectness=Term(Spy, 1.0), objectness_target="iou")(raw, make_batch([]))
    assert seen[0][0, 0, 1, 2, 0].item() == pytest.approx(1.0 if swap else 0.25, rel=1e-5)
    assert seen[0].count_nonzero() == 1
    assert seen[1].count_nonzero() == seen[2].count_nonzero() == 0


def test_anchors_are_read_when_the_loss_is_computed(head, batch):
    loss = YOLOv5Loss(head)
    before = loss(head.raw(), batch)["box"]
    head.anchors = head.anchors * 1.5
    after = loss(head.raw(), batch)["box"]
    assert after != before
    assert after == YOLOv5Loss(head)(head.raw(), batch)["box"]


def test_the_head_is_no_part_of_the_loss_and_is_copied_with_it():
    class Head(nn.Linear):
        num_classes, strides = 3, (8, 16, 32)

        def __init__(self):
            super().__init__(1, 1)
            self.anchors = FakeHead().anchors

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()
            self.loss = YOLOv5Loss(self.head)

    model = Model()
    assert set(model.state_dict()) == {"head.weight", "head.bias"}
    twin = copy.deepcopy(model)
    twin.head.strides = (8, 16)
    with pytest.raises(ValueError, match="the head has 2 levels"):
        twin.loss(FakeHead().raw(), make_batch([]))
    model.loss(FakeHead().raw(), make_batch([]))


def test_autobalance_follows_training_and_survives_in_the_state(head, batch):
    loss = YOLOv5Loss(head, autobalance=True)
    start = loss.level_balance.clone()
    loss.eval()(head.raw(), batch)
    assert loss.level_balance.equal(start)
    loss.train()
    for seed in range(3):
        sum(loss(head.raw(seed=seed), batch).values()).backward()
    assert loss.level_balance[1] == 1
    assert not loss.level_balance.equal(start)
    resumed = YOLOv5Loss(head, autobalance=True)
    resumed.load_state_dict(loss.state_dict())
    assert resumed.level_balance.equal(loss.level_balance)
    YOLOv5Loss(head).load_state_dict(loss.state_dict())
    fresh = YOLOv5Loss(head, autobalance=True)
    fresh.load_state_dict(YOLOv5Loss(head).state_dict())
    assert fresh.level_balance.equal(start)


def test_level_balance_weighs_objectness(head, batch):
    levels = [YOLOv5Loss(head, level_balance=row)(head.raw(), batch)["objectness"] for row in torch.eye(3).tolist()]
    total = YOLOv5Loss(head)(head.raw(), batch)["objectness"]
    assert (4 * levels[0] + levels[1] + 0.4 * levels[2]).item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("num_levels", [1, 2, 4, 5])
def test_default_balance_of_other_pyramids(num_levels):
    strides = (8, 16, 32, 64, 128)[:num_levels]
    head = FakeHead(strides=strides, anchors=torch.ones(num_levels, 3, 2))
    expected = torch.tensor([4, 1, 0.25, 0.06, 0.02][:num_levels])
    assert YOLOv5Loss(head).level_balance.equal(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(head, batch, dtype):
    raw = [level.detach().to(dtype).requires_grad_() for level in head.raw()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = YOLOv5Loss(head)(raw, batch)
    exact = YOLOv5Loss(head)([level.detach().float() for level in raw], batch)
    sum(losses.values()).backward()
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=1e-5)
    assert all(level.grad.dtype == dtype and level.grad.isfinite().all() for level in raw)


def test_double_precision_stays(head, batch):
    raw = [level.detach().double().requires_grad_() for level in head.raw()]
    losses = YOLOv5Loss(head).double()(raw, batch)
    assert all(value.dtype == torch.float64 for value in losses.values())
    assert losses["box"].item() == pytest.approx(YOLOv5Loss(head)(head.raw(), batch)["box"].item(), rel=1e-5)


@pytest.mark.parametrize("value", [-1e4, -60.0, 60.0, 1e4])
def test_gradients_are_finite_for_extreme_logits(head, batch, value):
    raw = [torch.full_like(level, value).requires_grad_() for level in head.raw()]
    losses = YOLOv5Loss(head, objectness=Term(FocalLoss, 1.0))(raw, batch)
    sum(losses.values()).backward()
    assert flat_gradient(raw).isfinite().all()


def test_a_step_down_the_gradient_lowers_the_loss(head, batch):
    raw, loss = head.raw(), YOLOv5Loss(head)
    first = sum(loss(raw, batch).values())
    first.backward()
    stepped = [(level - 0.5 * level.grad / flat_gradient(raw).norm()).detach() for level in raw]
    assert sum(loss(stepped, batch).values()) < first


def test_the_order_of_images_does_not_matter(head, batch):
    raw = head.raw()
    swapped = make_batch([BOXES[1], BOXES[2], BOXES[0]], [2, 1, 0], [0, 0, 1])
    found = YOLOv5Loss(head)([level.flip(0) for level in raw], swapped)
    for name, value in YOLOv5Loss(head)(raw, batch).items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"level_balance": [1.0]}, "level_balance needs a weight for each of 3 levels, has 1"),
        ({"image_size": 0}, "image_size is 0"),
        ({"image_size": (640, -1)}, "image_size is"),
    ],
)
def test_bad_arguments_are_refused(head, arguments, message):
    with pytest.raises(ValueError, match=message):
        YOLOv5Loss(head, **arguments)


def test_pyramids_that_do_not_fit_are_refused(batch):
    head = FakeHead(strides=(4, 8, 32))
    with pytest.raises(ValueError, match="autobalance needs a level of stride 16"):
        YOLOv5Loss(head, autobalance=True)
    with pytest.raises(ValueError, match="level_balance needs a weight for each of 6 levels, has 5"):
        YOLOv5Loss(FakeHead(strides=(2, 4, 8, 16, 32, 64)))
    for wrong in (FakeHead().raw()[:2], FakeHead(num_classes=4).raw()):
        with pytest.raises(ValueError, match="the head has 3 levels and 3 classes"):
            YOLOv5Loss(FakeHead())(wrong, batch)


def test_bad_terms_are_refused():
    with pytest.raises(TypeError, match="criterion is an instance of IoULoss; give the class IoULoss"):
        Term(IoULoss(), 1.0)
    with pytest.raises(ValueError, match="gain is -1"):
        Term(IoULoss, -1)
