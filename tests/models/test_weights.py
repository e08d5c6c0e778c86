from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.models.conftest import fused_official, half_of
from tests.models.test_detector import TinyBackbone
from yolo_lightning.errors import InputError
from yolo_lightning.models import (
    CSPDarknet,
    Detector,
    YOLOv5Head,
    build_detector,
    describe,
    detector_from_weights,
    load_weights,
    official_state_dict,
    yolov5,
)

Save = Callable[..., Path]


def _equal(detector: Detector, expected: dict[str, torch.Tensor]) -> bool:
    state = detector.state_dict()
    return set(state) == set(expected) and all(torch.equal(state[name], expected[name]) for name in expected)


def test_everything_transfers_to_an_equal_network(nano: Detector, save_official: Save) -> None:
    nano.head.anchors *= 2
    detector = yolov5("n")
    report = load_weights(detector, save_official(official_state_dict(nano)))
    assert (len(report.transferred), report.skipped) == (349, [])
    assert _equal(detector, half_of(nano))
    assert str(report) == "Transferred 349 tensors, skipped 0"


def test_head_of_other_classes_is_skipped_and_said(nano: Detector, save_official: Save) -> None:
    detector = yolov5("n", num_classes=3)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    report = load_weights(detector, str(save_official(official_state_dict(nano))))
    assert len(report.transferred) == 343
    reasons = dict(report.skipped)
    assert set(reasons) == {f"head.m.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert reasons["head.m.0.weight"] == "shape (255, 64, 1, 1) in the file, (24, 64, 1, 1) in the network"
    assert all(torch.equal(detector.state_dict()[name], before[name]) for name in reasons)
    assert "head.m.0.bias: shape (255,)" in str(report)


def test_given_anchors_stay(nano: Detector, save_official: Save) -> None:
    anchors = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], [13, 14, 15, 16, 17, 18]]
    description = describe(nano)
    description["init_args"]["head"]["init_args"]["anchors"] = anchors
    given = build_detector(description, 80)
    (fitted := yolov5("n")).head.set_anchors(anchors)
    for detector in (given, fitted):
        report = load_weights(detector, save_official(official_state_dict(nano)))
        assert report.skipped == [("head.anchors", "the network was given its own")]
        assert detector.head.anchors.flatten(1).tolist() == anchors


def test_missing_and_unknown_names_are_said(nano: Detector, save_official: Save) -> None:
    tensors = official_state_dict(nano)
    del tensors["model.3.conv.weight"]
    tensors["model.24.anchor_grid"] = torch.zeros(3, 1, 3, 1, 1, 2)
    tensors["model.77.weight"] = torch.zeros(2)
    report = load_weights(yolov5("n"), save_official(tensors))
    assert dict(report.skipped) == {
        "backbone.stages.1.0.conv.weight": "not in the file",
        "model.77.weight": "the network has no such tensor",
    }


@pytest.mark.parametrize("official", [True, False])
def test_safetensors_with_either_names(official: bool, nano: Detector, tmp_path: Path) -> None:
    tensors = official_state_dict(nano) if official else nano.state_dict()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    detector = yolov5("n")
    load_weights(detector, tmp_path / "w.safetensors")
    assert _equal(detector, nano.state_dict())


def test_fused_file_gives_the_same_output(nano: Detector, save_official: Save) -> None:
    save_file(fused_official(nano), (path := save_official({"a": torch.zeros(1)}).with_suffix(".safetensors")))
    detector = yolov5("n").eval()
    assert load_weights(detector, path).skipped == []
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for found, expected in zip(detector(images), nano.eval()(images), strict=True):
            assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_a_backbone_of_one_s_own_keeps_its_values(nano: Detector, save_official: Save) -> None:
    class Wide(CSPDarknet):
        def __init__(self) -> None:
            super().__init__(width_multiple=0.25)
            self.gate = torch.nn.Parameter(torch.full((1,), 9.0))

    detector = Detector(80, backbone=Wide)
    report = load_weights(detector, save_official(official_state_dict(nano)))
    assert report.skipped[0] == ("backbone.gate", "not in the file")
    assert detector.backbone.gate == 9.0


def test_nothing_that_fits_is_an_error(nano: Detector, save_official: Save) -> None:
    path = save_official(official_state_dict(nano))
    own = Detector(80, partial(TinyBackbone, 3), head=partial(YOLOv5Head, anchors=[[1, 1], [2, 2]]))
    for other in (yolov5("s"), own):
        with pytest.raises(InputError, match=rf"nothing in {path} fits the network"):
            load_weights(other, path)


def test_trainable_and_layout_stay_as_they_are(nano: Detector, save_official: Save) -> None:
    detector = yolov5("n").to(memory_format=torch.channels_last)
    detector.backbone.requires_grad_(False)
    weight = detector.backbone.stages[0][0].conv.weight
    load_weights(detector, save_official(official_state_dict(nano)))
    assert detector.backbone.stages[0][0].conv.weight is weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.requires_grad
    assert all(parameter.requires_grad for parameter in detector.head.parameters())


# ---- networks from files alone


@pytest.mark.parametrize(("size", "num_classes", "in_channels"), [("n", 3, 1), ("n6", 1, 3), ("s", 2, 3)])
def test_network_of_an_official_file(size: str, num_classes: int, in_channels: int, save_official: Save) -> None:
    source = yolov5(size, num_classes, in_channels)
    source.head.anchors += 2
    names = [f"class {index}" for index in range(num_classes)]
    detector, found = detector_from_weights(save_official(official_state_dict(source), names=names))
    assert found == tuple(names)
    assert detector.num_classes == num_classes
    assert _equal(detector, half_of(source))


def test_network_of_an_official_file_of_another_width(save_official: Save) -> None:
    source = Detector(2, partial(CSPDarknet, 0.2, 0.125))
    config = {"depth_multiple": 0.2, "width_multiple": 0.125}
    detector, names = detector_from_weights(save_official(official_state_dict(source), yaml=config))
    assert names is None
    assert _equal(detector, half_of(source))
    with pytest.raises(InputError, match="8 channels, which no published"):
        detector_from_weights(save_official(official_state_dict(source)))


def test_network_of_our_checkpoint(tmp_path: Path) -> None:
    source = Detector(2, partial(TinyBackbone, 6, scale=0.5), head=partial(YOLOv5Head, anchors=[[1, 1], [2, 2]]))
    source.head.anchors += 1
    state = {f"detector.{name}": tensor for name, tensor in source.state_dict().items()}
    settings = {"detector": describe(source), "class_names": ["a", "b"]}
    torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "best.ckpt")
    detector, names = detector_from_weights(tmp_path / "best.ckpt")
    assert names == ("a", "b")
    assert detector.backbone.scale == 0.5
    assert _equal(detector, source.state_dict())


def test_networks_that_cannot_be_told(nano: Detector, tmp_path: Path, save_official: Save) -> None:
    tensors = official_state_dict(nano)
    del tensors["model.3.conv.weight"]
    save_file({"head.m.0.bias": torch.zeros(3)}, tmp_path / "own.safetensors")
    cases = {
        "no description": "own.safetensors",
        "incomplete": save_official(tensors, "incomplete.pt").name,
        "two levels": save_official(
            {"model.0.conv.weight": torch.zeros(16, 3, 6, 6), "model.9.anchors": torch.ones(2, 3, 2)}
            | {"model.9.m.0.bias": torch.zeros(24)},
            "levels.pt",
        ).name,
    }
    messages = {"no description": "load_weights", "incomplete": "not those of the network", "two levels": "anchors"}
    for case, name in cases.items():
        with pytest.raises(InputError, match=messages[case]) as error:
            detector_from_weights(tmp_path / name)
        assert name in str(error.value)


def test_real_file(shared: Path) -> None:
    path = shared / "weights" / "yolov5n.pt"
    assert len(load_weights(yolov5("n"), path).transferred) == 349
    assert len(load_weights(yolov5("n", 3), path).transferred) == 343
