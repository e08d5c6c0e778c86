"""Networks of an eighth of the width, as files."""

from __future__ import annotations

from pathlib import Path

import torch

from yolo_lightning.models import PAFPN, CSPDarknet, Detector, save_weights

__all__ = ["write_network"]


def write_network(path: Path, levels: str, names: list[str]) -> None:
    torch.manual_seed(0)
    detector = Detector(
        len(names),
        backbone=lambda: CSPDarknet(depth_multiple=0.33, width_multiple=0.125, levels=levels),  # type: ignore[arg-type]
        neck=lambda features: PAFPN(features, depth_multiple=0.33),
    )
    save_weights(detector, path, names)
