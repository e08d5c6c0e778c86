"""A tiny network with weights of its own, which finds something in any picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from yolo_lightning.inference import Predictor
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, save_weights

CLASS_NAMES = ("circle", "square", "triangle")


def tiny_detector(num_classes: int = len(CLASS_NAMES), seed: int = 0, in_channels: int = 3) -> Detector:
    """An eighth of the width, with random weights whose boxes have scores from 0 to 1."""
    torch.manual_seed(seed)
    detector = Detector(
        num_classes,
        backbone=partial(CSPDarknet, 0.33, 0.125, in_channels),
        neck=partial(PAFPN, depth_multiple=0.33),
    )
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        detector(torch.rand(8, in_channels, 64, 64))  # statistics that keep the signal's size through the layers
        for conv in detector.head.m:
            conv.weight.normal_(std=0.5)
            conv.bias.view(3, -1)[:, 4:] += 3
    return detector.eval()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(tiny_detector(), path, CLASS_NAMES)
    return path


@pytest.fixture
def predictor() -> Predictor:
    """A predictor on the CPU, at 64 pixels."""
    return Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=64)
