from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from yolo_lightning.losses import BinaryCrossEntropy, FocalLoss, IoULoss
from yolo_lightning.ops import iou, xyxy_to_cxcywh


@pytest.fixture
def logits():
    return torch.linspace(-6, 6, 12, dtype=torch.float64).reshape(4, 3)


@pytest.fixture
def targets():
    return torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.3, 1], [0, 0, 0]], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_iou_loss_is_the_mean_of_what_is_missing(kind):
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 2.0, 3.0, 5.0]])
    targets = torch.tensor([[0.0, 1.0, 4.0, 5.0], [1.0, 2.0, 3.0, 5.0]])
    centred, centred_targets = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(targets)
    assert IoULoss(kind)(centred, centred_targets).item() == pytest.approx(
        (1 - iou(boxes, targets, kind)).mean().item()
    )


def test_binary_cross_entropy_weighs_positives(logits, targets):
    plain = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(BinaryCrossEntropy()(logits, targets), plain)
    p = logits.sigmoid()
    for weight in (2.0, [1.0, 2.0, 3.0]):
        w = torch.tensor(weight, dtype=torch.float64)
        expected = -(w * targets * p.log() + (1 - targets) * (1 - p).log()).mean()
        torch.testing.assert_close(BinaryCrossEntropy(weight)(logits, targets), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_focal_loss_is_its_formula(logits, targets, gamma):
    p = logits.sigmoid()
    entropy = -(1.3 * targets * p.log() + (1 - targets) * (1 - p).log())
    truth = targets * p + (1 - targets) * (1 - p)
    weight = targets * 0.25 + (1 - targets) * 0.75
    expected = (entropy * weight * (1 - truth) ** gamma).mean()
    torch.testing.assert_close(FocalLoss(gamma, pos_weight=1.3)(logits, targets), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_focal_loss_has_finite_gradients_where_the_answer_is_certain(gamma):
    logits = torch.tensor([-200.0, 200.0, 0.0], requires_grad=True)
    FocalLoss(gamma)(logits, torch.tensor([0.0, 1.0, 1.0])).backward()
    assert logits.grad.isfinite().all()


def test_weights_follow_the_module_but_not_its_state():
    criterion = BinaryCrossEntropy([1.0, 2.0])
    assert criterion.state_dict() == {}
    assert criterion.double().pos_weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BinaryCrossEntropy(0.0), "pos_weight is 0.0"),
        (lambda: BinaryCrossEntropy([1.0, -1.0]), "pos_weight is"),
        (lambda: FocalLoss(gamma=-1), "gamma is -1"),
        (lambda: FocalLoss(alpha=2), "alpha is 2"),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
