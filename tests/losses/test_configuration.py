"""The loss is put together from YAML alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from tests.losses.conftest import FakeHead, make_batch
from yolo_lightning.losses import (
    AnchorHead,
    AnchorRatioAssigner,
    BinaryCrossEntropy,
    FocalLoss,
    IoULoss,
    YOLOv5Loss,
)
from yolo_lightning.ops import NMS


class Recipe:
    """Takes loss and postprocessing as the training module does."""

    def __init__(
        self, loss: Callable[[AnchorHead], YOLOv5Loss] = YOLOv5Loss, postprocess: Callable[[], NMS] = NMS
    ) -> None:
        self.loss = loss(FakeHead(), image_size=(320, 640))
        self.postprocess = postprocess()


class PowerLoss(nn.Module):
    """A user's criterion."""

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions - targets).abs().pow(self.power).mean()


class CentreAssigner(AnchorRatioAssigner):
    """A user's assigner, with an argument of its own."""

    def __init__(self, ratio_threshold: float = 4.0, most: int = 1) -> None:
        super().__init__(ratio_threshold)
        self.most = most


def build(text: str) -> Recipe:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, "model")
    config = parser.parse_string(yaml.safe_dump({"model": yaml.safe_load(text)}))
    # What is saved with a run builds the same again.
    config = parser.parse_string(parser.dump(config))
    return parser.instantiate(config).model


def test_the_default_is_the_published_loss():
    loss = build("{}").loss
    assert isinstance(loss.assigner, AnchorRatioAssigner)
    assert isinstance(loss.box, IoULoss)
    assert type(loss.objectness) is type(loss.classification) is BinaryCrossEntropy
    assert loss.image_size == (320, 640)
    assert loss.gains == YOLOv5Loss(FakeHead(), image_size=(320, 640)).gains


def test_one_term_is_replaced_and_the_others_stay():
    loss = build("""
        loss:
          class_path: YOLOv5Loss
          init_args:
            classification:
              criterion: {class_path: tests.losses.test_configuration.PowerLoss, init_args: {power: 3}}
    """).loss
    assert isinstance(loss.classification, PowerLoss)
    assert loss.classification.power == 3
    assert isinstance(loss.box, IoULoss)
    assert type(loss.objectness) is BinaryCrossEntropy
    assert loss.gains == YOLOv5Loss(FakeHead(), image_size=(320, 640)).gains
    losses = loss(FakeHead().raw(), make_batch([[10.0, 12.0, 30.0, 40.0]]))
    assert all(value > 0 for value in losses.values())


def test_one_gain_is_changed_and_its_criterion_stays():
    loss = build("loss: {init_args: {box: {gain: 0.2}}}").loss
    assert isinstance(loss.box, IoULoss)
    assert loss.gains["box"] == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["torch.nn.BCEWithLogitsLoss", "yolo_lightning.losses.FocalLoss", "FocalLoss"])
def test_criteria_of_torch_and_ours(name):
    loss = build(f"loss: {{init_args: {{objectness: {{criterion: {{class_path: {name}}}, gain: 0.7}}}}}}").loss
    assert type(loss.objectness) is (nn.BCEWithLogitsLoss if name.startswith("torch") else FocalLoss)
    assert loss.gains["objectness"] == pytest.approx(0.35)


def test_weights_and_settings():
    loss = build("""
        loss:
          init_args:
            objectness: {criterion: {class_path: FocalLoss, init_args: {gamma: 2.0, pos_weight: 1.5}}}
            classification: {criterion: {class_path: BinaryCrossEntropy, init_args: {pos_weight: [1, 2, 3]}}}
            label_smoothing: 0.1
            level_balance: [1, 2, 3]
            objectness_target: giou
            autobalance: true
    """).loss
    assert loss.objectness.gamma == 2
    assert loss.classification.pos_weight.tolist() == [1, 2, 3]
    assert loss.level_balance.tolist() == [1, 2, 3]
    assert loss.label_smoothing == 0.1
    assert loss.objectness_target == "giou"
    assert "level_balance" in loss.state_dict()


def test_the_assigner_is_replaced():
    loss = build("""
        loss:
          init_args:
            assigner:
              class_path: tests.losses.test_configuration.CentreAssigner
              init_args: {ratio_threshold: 3, most: 5}
    """).loss
    assert isinstance(loss.assigner, CentreAssigner)
    assert (loss.assigner.ratio_threshold, loss.assigner.most) == (3, 5)


def test_nms_is_configured():
    nms = build("postprocess: {class_path: NMS, init_args: {iou_threshold: 0.45, classes: [0, 2]}}").postprocess
    assert nms.iou_threshold == 0.45
    assert nms.classes == (0, 2)
    (found,) = nms(torch.rand(1, 3, 4), torch.rand(1, 3, 3))
    assert 1 not in found.labels


@pytest.mark.parametrize(
    "text",
    [
        "loss: {init_args: {classes: {gain: 0.2}}}",
        "loss: {init_args: {box: {gian: 0.2}}}",
        "loss: {init_args: {box: {gain: high}}}",
        "loss: {init_args: {box: {criterion: {class_path: nowhere.Loss}}}}",
        "loss: {init_args: {objectness_target: siou}}",
        "postprocess: {init_args: {iou: 0.2}}",
    ],
)
def test_misspelt_keys_are_refused(text):
    with pytest.raises(Exception, match=r"(?s)model"):
        build(text)
