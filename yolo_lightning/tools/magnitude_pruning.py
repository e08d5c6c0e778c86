"""Sets the smallest weights of convolutions to zero."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import prune

from yolo_lightning.models import Detector

__all__ = ["prune_weights"]


def prune_weights(detector: Detector, sparsity: float) -> Detector:
    """A copy in which a share of the weights of each convolution is zero: those of the smallest magnitude.

    Args:
        detector: Not changed.
        sparsity: The share, 0…1.
    """
    sparse = copy.deepcopy(detector)
    for module in sparse.modules():
        if isinstance(module, nn.Conv2d):
            prune.l1_unstructured(module, "weight", amount=sparsity)  # type: ignore[no-untyped-call]
            prune.remove(module, "weight")  # type: ignore[no-untyped-call]
    return sparse
