"""Parameters, operations and times of layers."""

from __future__ import annotations

import pytest
import torch

from yolo_lightning.models import Detector, yolov5
from yolo_lightning.tools.profiling import Layer, profile_network


@pytest.fixture(scope="module")
def detector() -> Detector:
    return yolov5("n", num_classes=3)


@pytest.fixture(scope="module")
def layers(detector: Detector) -> dict[str, Layer]:
    return {layer.name: layer for layer in profile_network(detector, torch.rand(2, 3, 64, 96), seconds=0.0)}


def test_layers_in_the_order_in_which_they_run(layers: dict[str, Layer]):
    names = list(layers)
    assert names[:4] == ["", "backbone", "backbone.stem", "backbone.stages.0"]
    assert names[8:10] == ["neck", "neck.reduce.0"]
    assert names[10] == "neck.top_down.0"  # not all that reduce first
    assert names[-1] == "head.m.2"
    assert {layer.depth for layer in layers.values()} == {0, 1, 2}
    assert layers["backbone.stem"].kind == "Conv"


def test_parameters(layers: dict[str, Layer], detector: Detector):
    assert layers[""].parameters == sum(parameter.numel() for parameter in detector.parameters())
    assert layers["backbone.stem"].parameters == 1760  # as published
    parts = [layers[name].parameters for name in ("backbone", "neck", "head")]
    assert sum(parts) == layers[""].parameters


def test_operations(layers: dict[str, Layer]):
    # two images, 16 channels of half the size, of windows of 6 × 6 × 3
    assert layers["backbone.stem"].flops == 2 * 2 * 16 * 32 * 48 * 6 * 6 * 3
    # two images, three anchors of eight numbers, at stride 8
    assert layers["head.m.0"].flops == 2 * 2 * 24 * 8 * 12 * 64
    assert sum(layers[name].flops for name in ("backbone", "neck", "head")) == layers[""].flops


def test_published_operations():
    """README of YOLOv5: 4.5 GFLOPs at 640 pixels, of a profiler that counts a little more than convolutions."""
    (whole,) = profile_network(yolov5("n"), torch.rand(1, 3, 128, 128), depth=0, seconds=0.0)
    assert 25 * whole.flops / 1e9 == pytest.approx(4.5, rel=0.02)
    assert whole.parameters == 1_872_157


def test_times(layers: dict[str, Layer]):
    for layer in layers.values():
        assert layer.milliseconds > 0
        assert layer.fused_milliseconds > 0


def test_deeper(detector: Detector):
    names = [layer.name for layer in profile_network(detector, torch.rand(1, 3, 64, 64), depth=3, seconds=0.0)]
    assert names[6:9] == ["backbone.stages.0", "backbone.stages.0.0", "backbone.stages.0.1"]


def test_the_network_is_as_before(detector: Detector):
    profile_network(detector, torch.rand(1, 3, 64, 64), seconds=0.0)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in detector.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in detector.modules())
