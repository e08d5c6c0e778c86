"""How much a network computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from yolo_lightning.models import Detector

__all__ = ["flops_by_module"]


def flops_by_module(detector: Detector, shape: Sequence[int]) -> dict[str, int]:
    """Floating-point operations of images, by name of the module; "" is the whole network.

    A multiplication with its addition counts as two. Those of convolutions and matrix products, which are all but a few
    thousandths.

    Args:
        detector: The network, on any device.
        shape: That of the images: (B, C, H, W).
    """
    with torch.device("meta"), torch.no_grad():  # shapes alone
        network = copy.deepcopy(detector).to("meta").eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(*shape))
    root = type(detector).__name__
    counts = {str(name): sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    found = {name.removeprefix(f"{root}."): count for name, count in counts.items() if name.startswith(f"{root}.")}
    return {"": counter.get_total_flops(), **found}
