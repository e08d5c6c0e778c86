from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.models.test_detector import TinyBackbone
from yolo_lightning.models import CSPDarknet, Detector, YOLOv5Head, official_layers, official_state_dict, yolov5
from yolo_lightning.models.official import from_official


@pytest.mark.parametrize("size", ["n", "n6"])
def test_names_are_a_bijection(size: str) -> None:
    detector = yolov5(size, num_classes=3)
    detector.head.anchors += 0.37
    back = from_official(detector, official_state_dict(detector))
    own = detector.state_dict()
    assert set(back) == set(own)
    assert all(torch.allclose(back[name], own[name], rtol=1e-6) for name in own)


def test_layers_of_the_backbone_come_first() -> None:
    detector = yolov5("n")
    first_ten = [
        parameter for number, layer in official_layers(detector) if number < 10 for parameter in layer.parameters()
    ]
    assert {id(p) for p in first_ten} == {id(p) for p in detector.backbone.parameters()}


def test_a_part_of_one_s_own_has_no_official_names() -> None:
    anchors = [[10, 10], [40, 40]]
    detector = Detector(5, backbone=TinyBackbone, head=partial(YOLOv5Head, anchors=anchors))
    assert min(number for number, _ in official_layers(detector)) >= 8
    with pytest.raises(ValueError, match=r"4 tensors .* backbone\.convs\.0\.weight first.*official_layers"):
        official_state_dict(detector)


def test_a_subclass_with_more_tensors_has_no_official_names() -> None:
    class Attentive(CSPDarknet):
        def __init__(self) -> None:
            super().__init__(width_multiple=0.25)
            self.gate = torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"backbone\.gate\.weight"):
        official_state_dict(Detector(backbone=Attentive))


def test_unknown_names_are_kept() -> None:
    tensors = {"model.0.conv.weight": torch.zeros(1), "model.99.extra": torch.ones(1)}
    assert set(from_official(yolov5("n"), tensors)) == {"backbone.stem.conv.weight", "model.99.extra"}
