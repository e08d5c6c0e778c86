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
        assert one.labels.tolist() == other.labels.tolist()
        torch.testing.assert_close(one.boxes, other.boxes, atol=pixels, rtol=0)
        torch.testing.assert_close(one.scores, other.scores, atol=5e-3, rtol=0)
