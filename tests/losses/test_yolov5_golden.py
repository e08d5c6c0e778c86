"""Our loss against the reference's figures."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.losses.conftest import FakeHead, batch_of_rows
from yolo_lightning.losses import BinaryCrossEntropy, FocalLoss, Term, YOLOv5Loss

CASES = ["p5_nc3", "p5_nc1", "p6_nc12", "p5_smooth_focal", "p5_autobalance", "p5_empty", "p5_borders"]
PARTS = ("box", "objectness", "classification")


class Case:
    """One case of the reference: settings, predictions, labels and results."""

    def __init__(self, golden: Path, name: str) -> None:
        self.settings: dict[str, Any] = json.loads((golden / "loss_cases.json").read_text())[name]
        self.arrays = dict(np.load(golden / f"loss_{name}.npz", allow_pickle=False))
        strides = tuple(int(stride) for stride in self.settings["strides"])
        self.head = FakeHead(self.settings["nc"], strides, torch.tensor(self.settings["anchors_px"]))
        self.raw = tuple(torch.from_numpy(self.arrays[f"pred_{i}"]).requires_grad_() for i in range(len(strides)))
        self.batch = batch_of_rows(self.arrays["targets"], self.settings["batch"], self.settings["imgsz"])

    def loss(self) -> YOLOv5Loss:
        hyp = self.settings["hyp_after_scaling"]

        def criterion(pos_weight: float) -> Any:
            if hyp["fl_gamma"]:
                return partial(FocalLoss, gamma=hyp["fl_gamma"], pos_weight=pos_weight)
            return partial(BinaryCrossEntropy, pos_weight=pos_weight)

        return YOLOv5Loss(
            self.head,
            objectness=Term(criterion(hyp["obj_pw"]), 1.0),
            classification=Term(criterion(hyp["cls_pw"]), 0.5),
            label_smoothing=hyp["label_smoothing"],
            autobalance=self.settings["autobalance"],
            image_size=self.settings["imgsz"],
        )


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Path) -> Case:
    return Case(golden, request.param)


def test_every_case_is_tested(golden: Path) -> None:
    assert sorted(json.loads((golden / "loss_cases.json").read_text())) == sorted(CASES)


def test_gains_are_scaled_as_in_the_reference(case: Case) -> None:
    hyp = case.settings["hyp_after_scaling"]
    expected = {"box": hyp["box"], "objectness": hyp["obj"], "classification": hyp["cls"]}
    assert case.loss().gains == pytest.approx(expected, rel=1e-12)


def test_positives_are_those_of_the_reference(case: Case) -> None:
    assignments = case.loss().assigner(case.raw, case.batch, case.head.anchors, case.head.strides)
    for i, assignment in enumerate(assignments):
        found = torch.stack((*assignment.index, assignment.labels), dim=1)
        np.testing.assert_array_equal(found, case.arrays[f"match_{i}_image_anchor_gj_gi_cls"])
        np.testing.assert_array_equal(assignment.boxes_cxcywh, case.arrays[f"match_{i}_tbox"])


def test_values_and_gradients_are_those_of_the_reference(case: Case) -> None:
    loss = case.loss()
    losses = loss(case.raw, case.batch)
    total = sum(losses.values()) * len(case.batch)
    total.backward()
    parts = torch.stack([losses[part] for part in PARTS]).detach()
    np.testing.assert_allclose(parts, case.arrays["items_box_obj_cls"], rtol=1e-5)
    np.testing.assert_allclose(total.detach(), case.arrays["loss"][0], rtol=1e-5)
    for i, logits in enumerate(case.raw):
        expected = case.arrays[f"grad_{i}"]
        np.testing.assert_allclose(logits.grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(logits.grad.double().norm(), case.arrays["grad_norms"][i], rtol=1e-5)
    balance = case.arrays["balance_after"][: len(case.raw)]
    np.testing.assert_allclose(loss.level_balance, balance, rtol=1e-5)
