"""What the tests of single formats share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.inference.conftest import CLASS_NAMES, tiny_detector
from yolo_lightning.export import FORMATS, ExportOptions, export_network
from yolo_lightning.inference import Predictor
from yolo_lightning.models import PAFPN, CSPDarknet, Detector
from yolo_lightning.types import Detections

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))


def fresh_detector() -> Detector:
    """An eighth of the width and not trained, so that a small change of its numbers is a small change of its boxes."""
    torch.manual_seed(0)
    return Detector(
        len(CLASS_NAMES), backbone=partial(CSPDarknet, 0.33, 0.125), neck=partial(PAFPN, depth_multiple=0.33)
    ).eval()


def export_tiny(name: str, folder: Path, **options: Any) -> Path:
    """A file for two images of 64 pixels, which passed the gate."""
    path = folder / f"tiny{FORMATS[name].suffix}"
    settings = ExportOptions(image_size=(64, 64), batch_size=len(IMAGES), **options)
    export_network(tiny_detector(), CLASS_NAMES, name, path, settings, images=IMAGES)
    return path


def assert_finds_the_same(exported: Predictor, shape: tuple[int, int] = (64, 64), pixels: float = 0.1) -> None:
    """Three images, where files are for two."""
    images = [np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8) for n in range(3)]
    plain = Predictor(tiny_detector(), CLASS_NAMES, device="cpu", size=64)
    found, wanted = exported(images).detections, plain(images).detections
    assert sum(len(each) for each in wanted) > len(images)
    for one, other in zip(found, wanted, strict=True):
        # Where rounding decides, suppression leaves another box, or the same in another order.
        allowed = max(1, len(other) // 25)
        assert unmatched(one, other, pixels) <= allowed
        assert unmatched(other, one, pixels) <= allowed


def unmatched(one: Detections, others: Detections, pixels: float) -> int:
    """How many have none alike among others."""
    alike = (one.boxes[:, None] - others.boxes).abs().amax(-1) < pixels
    alike &= (one.scores[:, None] - others.scores).abs() < 5e-3
    alike &= one.labels[:, None] == others.labels
    return int((~alike.any(1)).sum())
