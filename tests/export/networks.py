"""A network for formats that round."""

from __future__ import annotations

from functools import partial

import torch

from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.models import PAFPN, CSPDarknet, Detector


def calm_detector(seed: int = 0) -> Detector:
    """An eighth of the width, fresh, so that a small change of its numbers is a small change of its boxes."""
    torch.manual_seed(seed)
    return Detector(
        len(CLASS_NAMES), backbone=partial(CSPDarknet, 0.33, 0.125), neck=partial(PAFPN, depth_multiple=0.33)
    ).eval()
