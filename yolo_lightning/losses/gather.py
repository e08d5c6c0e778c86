"""Reads from a level's predictions what the loss needs of them, with a lean backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gather_predictions"]


def gather_predictions(raw: Tensor, index: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The predictions at some cells, and the objectness of all cells.

    Equal to ``raw[index], raw[..., 4]``. But plain indexing fills one whole gradient for each of the two and adds
    them; with many classes that costs more than the rest of the loss. Here both go into one.

    Args:
        raw: (B, A, H, W, 5 + C) logits.
        index: Four (P,) int64 indices into the first axes of ``raw``; may repeat.

    Returns:
        (P, 5 + C) predictions and (B, A, H, W) objectness, in float32 if ``raw`` is of half precision.
    """
    predictions, objectness = _Gather.apply(raw, *index)
    return predictions, objectness


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, *index: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(raw, *index)
        dtype = torch.promote_types(raw.dtype, torch.float32)
        return raw[index].to(dtype), raw[..., 4].to(dtype, memory_format=torch.contiguous_format, copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, predictions_grad: Tensor, objectness_grad: Tensor) -> tuple[Tensor | None, ...]:
        raw, *index = ctx.saved_tensors
        grad = torch.zeros_like(raw)
        grad.index_put_(tuple(index), predictions_grad.to(raw.dtype), accumulate=True)
        grad[..., 4] += objectness_grad
        return grad, None, None, None, None
