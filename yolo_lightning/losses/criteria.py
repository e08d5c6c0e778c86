"""Criteria: what one term of a loss measures. Any ``nn.Module`` of (prediction, target) can take their place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (as everywhere in PyTorch)
from torch import Tensor, nn

from yolo_lightning.ops import IoUKind, iou

__all__ = ["BinaryCrossEntropy", "FocalLoss", "IoULoss"]


class IoULoss(nn.Module):
    """Mean of 1 − IoU over pairs of boxes.

    Args:
        kind: Which IoU: ``iou``, ``giou``, ``diou`` or ``ciou``.
    """

    def __init__(self, kind: IoUKind = "ciou") -> None:
        super().__init__()
        self.kind: IoUKind = kind

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Compares (n, 4) cxcywh boxes with their targets (n, 4); a scalar."""
        return (1 - iou(predictions, targets, self.kind, fmt="cxcywh")).mean()


class BinaryCrossEntropy(nn.Module):
    """Mean binary cross-entropy of logits.

    Like ``torch.nn.BCEWithLogitsLoss``, whose ``pos_weight`` is a tensor and so cannot be given in YAML.

    Args:
        pos_weight: Weight of the positive part; above 1 favours recall. One number, or one for each class.

    Raises:
        ValueError: If a weight is not positive.
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        weight = torch.as_tensor(pos_weight, dtype=torch.get_default_dtype())
        if not bool((weight > 0).all()):
            raise ValueError(f"pos_weight is {pos_weight}; it must be above 0")
        self.register_buffer("pos_weight", None if pos_weight == 1 else weight, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compares logits with targets in 0…1 of the same shape (..., C); a scalar."""
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.pos_weight)


class FocalLoss(BinaryCrossEntropy):
    """Binary cross-entropy that turns from easy to hard examples (https://arxiv.org/abs/1708.02002).

    Args:
        gamma: How strongly easy examples fade, at least 0; 0 does not fade them.
        alpha: Weight of positives, 0…1; negatives weigh 1 − ``alpha``.
        pos_weight: Weight of the positive part of the cross-entropy. One number, or one for each class.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, gamma: float = 1.5, alpha: float = 0.25, pos_weight: float | Sequence[float] = 1.0) -> None:
        super().__init__(pos_weight)
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}; it must be at least 0")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it must be between 0 and 1")
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compares logits with targets in 0…1 of the same shape (..., C); a scalar."""
        entropy = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.pos_weight, reduction="none")
        probability = logits.sigmoid()
        # 1 − probability of the truth; above zero, where the power has a gradient for any gamma.
        missed = (targets + probability - 2 * targets * probability).clamp(min=1e-12)
        weight = targets * self.alpha + (1 - targets) * (1 - self.alpha)
        return (entropy * weight * missed**self.gamma).mean()
