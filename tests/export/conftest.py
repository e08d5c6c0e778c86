"""A tiny network whose answers hardly depend on how a processor rounds, and its exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.export import FORMATS, Export, ExportOptions, export_network
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, Head, YOLOv5Head
from yolo_lightning.runtimes.contract import Thresholds

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
THRESHOLDS = Thresholds(0.3, 0.5, 20)
KINDS: dict[str, dict[str, Any]] = {
    "static": {},
    "dynamic": {"dynamic": True},
    "half": {"half": True},
    "int8": {"int8": True},
    "preprocess": {"preprocess": True},
    "nms": {"nms": True, "thresholds": THRESHOLDS},
    "all": {"dynamic": True, "half": True, "preprocess": True, "nms": True, "thresholds": THRESHOLDS},
}
NAMES = ("onnx", "openvino", "torchscript", "torch_export")
"""Formats that everything is tried with; the others have tests of their own."""
CASES = [
    (name, kind)
    for name in NAMES
    for kind, options in KINDS.items()
    if all(option in FORMATS[name].abilities for option, value in options.items() if value is True)
]


def calm_detector(num_classes: int = len(CLASS_NAMES), head: Callable[..., Head] = YOLOv5Head) -> Detector:
    """Random layers that hardly bend the signal, and a head that makes scores from 0 to 1 of what is left of it."""
    torch.manual_seed(0)
    backbone, neck = partial(CSPDarknet, 0.33, 0.125), partial(PAFPN, depth_multiple=0.33)
    detector = Detector(num_classes, backbone=backbone, neck=neck, head=head).eval()
    for module in (*detector.backbone.modules(), *detector.neck.modules()):
        if isinstance(module, torch.nn.Conv2d):
            # keeps the size of what SiLU lets through
            torch.nn.init.normal_(module.weight, std=1.68 / module.weight[0].numel() ** 0.5)
    with torch.no_grad():
        maps = detector.neck(detector.backbone(IMAGES.float() / 255))
    with torch.no_grad():
        for conv, values in zip(detector.head.m, maps, strict=True):
            spread, mean = values.std(), values.mean((0, 2, 3))
            conv.weight.copy_(torch.randn_like(conv.weight) / spread / conv.in_channels**0.5)
            conv.bias.copy_(-conv.weight[..., 0, 0] @ mean)
    return detector


def calibration() -> Iterator[npt.NDArray[np.uint8]]:
    for seed in range(4):
        yield np.random.default_rng(seed).integers(0, 256, IMAGES.shape, np.uint8)


def export(name: str, folder: Path, *, overwrite: bool = False, **options: Any) -> Export:
    """Exports the calm network for two images of 64 pixels."""
    path = folder / f"calm{FORMATS[name].suffix}"
    settings = ExportOptions(image_size=(64, 64), batch_size=len(IMAGES), **options)
    return export_network(
        calm_detector(),
        CLASS_NAMES,
        name,
        path,
        settings,
        images=IMAGES,
        calibration=calibration if settings.int8 else None,
        overwrite=overwrite,
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Export]:
    """Exports of a format and kind, made once for tests that only read them."""
    made: dict[tuple[str, str], Export] = {}

    def get(name: str, kind: str) -> Export:
        if (name, kind) not in made:
            made[name, kind] = export(name, tmp_path_factory.mktemp(f"{name}-{kind}"), **KINDS[kind])
        return made[name, kind]

    return get
