"""Networks with fewer channels than their parts make."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.test_build import TinyDetector
from tests.models.test_detector import TinyBackbone
from yolo_lightning.errors import InputError
from yolo_lightning.models import (
    PAFPN,
    CSPDarknet,
    Detector,
    Neck,
    PrunedDetector,
    YOLOv5Head,
    build_detector,
    describe,
    detector_from_weights,
    load_weights,
    official_layers,
    save_weights,
    yolov5,
)
from yolo_lightning.models.pruned import describe_pruned
from yolo_lightning.types import FeatureInfo

# The stem with half its channels, and the finest map of the neck with a quarter less.
CHANNELS: dict[str, list[int | None]] = {
    "backbone.stem.conv": [None, 8],
    "backbone.stem.bn": [8],
    "backbone.stages.0.0.conv": [8, None],
    "neck.top_down.1.cv3.conv": [None, 48],
    "neck.top_down.1.cv3.bn": [48],
    "neck.downsample.0.conv": [48, None],
    "head.m.0": [48, None],
}
NAMES = ["a", "b", "c"]


class MixedBackbone(TinyBackbone):
    """With a depth-wise convolution and a linear layer on the finer map."""

    def __init__(self) -> None:
        super().__init__(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine = self.linear(self.depthwise(self.convs[0](images)).movedim(1, -1)).movedim(-1, 1)
        return fine, self.convs[1](fine)


class _Nothing(Neck):
    def __init__(self, features: FeatureInfo) -> None:
        super().__init__()
        self.features = features

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return maps


def pruned(num_classes: int = 3, channels: Any = CHANNELS) -> PrunedDetector:
    torch.manual_seed(0)
    backbone = partial(CSPDarknet, 0.33, 0.25)
    return PrunedDetector(num_classes, backbone, partial(PAFPN, depth_multiple=0.33), channels=channels)


def test_layers_are_narrow_and_the_network_runs() -> None:
    detector = pruned()
    assert detector.backbone.stem.conv.weight.shape == (8, 3, 6, 6)
    assert detector.features == FeatureInfo((48, 128, 256), (8, 16, 32))
    assert detector.backbone.features == FeatureInfo((64, 128, 256), (8, 16, 32))
    assert detector.training
    full, images = yolov5("n", 3), torch.rand(2, 3, 64, 32)
    assert [x.shape for x in detector(images)] == [x.shape for x in full(images)]
    assert sum(p.numel() for p in detector.parameters()) < sum(p.numel() for p in full.parameters())
    assert [number for number, _ in official_layers(detector)] == [number for number, _ in official_layers(full)]


def test_without_channels_it_is_the_plain_network() -> None:
    shapes = {name: tensor.shape for name, tensor in pruned(channels=None).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in yolov5("n", 3).state_dict().items()}


def test_on_no_device() -> None:
    with torch.device("meta"):
        assert pruned().features.channels == (48, 128, 256)


def test_kinds_of_layers() -> None:
    kept = {"backbone.convs.0": [None, 6], "backbone.depthwise": [6, 6], "backbone.linear": [6, 3]}
    head = partial(YOLOv5Head, anchors=[[10, 10], [40, 40]])
    detector = PrunedDetector(
        1, MixedBackbone, _Nothing, head, {**kept, "backbone.convs.1": [3, None], "head.m.0": [3, None]}
    )
    assert detector.backbone.depthwise.weight.shape == (6, 1, 3, 3)
    assert detector.features.channels == (3, 16)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    detector = pruned().eval()
    save_weights(detector, tmp_path / "pruned.safetensors", NAMES)
    other, names = detector_from_weights(tmp_path / "pruned.safetensors")
    assert type(other) is PrunedDetector
    assert (other.channels, names) == (CHANNELS, tuple(NAMES))
    images = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(detector.half().float()(images), other.eval()(images), strict=True):
        assert torch.equal(ours, theirs)
    assert describe(other) == describe(detector)


def test_other_classes(tmp_path: Path) -> None:
    source = pruned()
    save_weights(source, tmp_path / "pruned.safetensors", NAMES)
    other = build_detector(describe(source), 7)
    report = load_weights(other, tmp_path / "pruned.safetensors")
    outputs = {f"head.m.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert {name for name, _ in report.skipped} == outputs
    assert other.head.m[0].weight.shape == (36, 48, 1, 1)


def test_it_fits_no_other_network(tmp_path: Path) -> None:
    save_weights(pruned(), tmp_path / "pruned.safetensors", NAMES)
    full = yolov5("n", 3)
    before = copy.deepcopy(full.state_dict())
    with pytest.raises(InputError, match="holds a pruned network"):
        load_weights(full, tmp_path / "pruned.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in full.state_dict().items())


def test_description_of_what_was_narrowed() -> None:
    full = Detector(3, partial(CSPDarknet, 0.33, 0.25), partial(PAFPN, depth_multiple=0.33))
    assert describe_pruned(full, pruned()) == describe(pruned())
    # Of a network that was pruned before: the widths of both times.
    once = pruned(channels={name: CHANNELS[name] for name in list(CHANNELS)[:3]})
    assert describe_pruned(once, pruned()) == describe(pruned())


def test_a_class_that_chooses_its_parts_is_refused() -> None:
    with pytest.raises(InputError, match="TinyDetector, which makes its parts itself"):
        describe_pruned(TinyDetector(2), TinyDetector(2))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"backbone.steam.conv": [3, 8]}, "no layer 'backbone.steam.conv'"),
        ({"backbone.stem.act": [8]}, "backbone.stem.act is a SiLU"),
        ({"backbone.stem.conv": [3, 17]}, r"of \[3, 16\] channels"),
        ({"backbone.stem.conv": [3, 0]}, r"\[3, 0\] cannot be left"),
        ({"backbone.stem.conv": [3, -1]}, r"\[3, -1\]"),
        ({"backbone.stem.conv": [3, 8.0]}, r"8\.0"),
        ({"backbone.stem.conv": [3, True]}, "True"),
        ({"backbone.stem.conv": [8]}, r"\[8\]"),
        ({"backbone.stem.conv": 8}, "cannot be made"),
        ({"backbone.stem.bn": [8, 8]}, r"\[8, 8\]"),
        ({"backbone.stem.bn": "8"}, "'8'"),
        (["backbone.stem.bn"], "must be widths by the name of a layer"),
        ({"backbone.stem.conv": [None, 8]}, "layers that follow each other differ in width"),
    ],
)
def test_channels_that_cannot_be(channels: Any, message: str) -> None:
    description = describe(pruned(channels=None))
    description["init_args"]["channels"] = channels
    with pytest.raises(InputError, match=message):
        build_detector(description, 3)
