"""Losses and weights that are not finite."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from yolo_lightning.errors import InputError
from yolo_lightning.types import Batch

__all__ = ["FiniteCheck"]


class FiniteCheck(Callback):
    """Keeps a NaN or an infinity out of the weights, names the images, and stops a run that is lost.

    A gradient that is not finite is replaced by zero, on the device: the step is left to momentum and weight decay. The
    device is asked only now and then what happened. A run whose weights are not finite ends before they are validated
    or saved, so that the checkpoints are those of the last good epoch.

    Args:
        patience: Optimizer steps in a row without a finite gradient after which the run stops. fp16 has a few at the
            start, while the loss scale is found.
        check_every: Batches between two looks at what happened.

    Raises:
        ValueError: If one of them is not positive.
    """

    def __init__(self, patience: int = 50, check_every: int = 50) -> None:
        if min(patience, check_every) < 1:
            raise ValueError(f"patience and check_every must be positive, got {patience} and {check_every}")
        self.patience = patience
        self.check_every = check_every
        self._losses: list[tuple[Tensor, list[str]]] = []
        self._gradients: list[Tensor] = []
        self._num_in_a_row = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drops a gradient that is not finite; it is that of all processes, so they agree."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None and parameter.numel()]
        if gradients:
            finite = _all_finite(gradients)
            self._gradients.append(finite)
            for gradient in gradients:
                gradient.masked_fill_(~finite, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Notes whether the loss is finite, and looks at the notes now and then."""
        self._losses.append((outputs["loss"].detach().isfinite(), [info.path for info in batch.infos]))
        if (batch_idx + 1) % self.check_every == 0 or trainer.is_last_batch:
            self._look(trainer.current_epoch)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends a run whose weights are lost, before their average is validated."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._check_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends a run whose weights are lost, before they are saved."""
        self._check_weights(trainer, pl_module)

    def _look(self, epoch: int) -> None:
        bad = [paths for (_, paths), finite in zip(self._losses, _values(self._losses), strict=True) if not finite]
        if bad:
            warnings.warn(
                f"epoch {epoch}: the loss of {len(bad)} of the last {len(self._losses)} batches is not finite; their "
                f"gradient is left out. The first has the images {', '.join(bad[0])}",
                stacklevel=2,
            )
        self._losses.clear()
        for finite in _values([(gradient, []) for gradient in self._gradients]):
            self._num_in_a_row = 0 if finite else self._num_in_a_row + 1
            if self._num_in_a_row >= self.patience:
                raise InputError(
                    f"the gradient was not finite in {self.patience} optimizer steps in a row (epoch {epoch}); "
                    "use a smaller learning rate, or --trainer.precision 32-true or bf16-mixed"
                )
        self._gradients.clear()

    def _check_weights(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = pl_module.state_dict().values()
        tensors = [tensor.detach() for tensor in state if tensor.is_floating_point() and tensor.numel()]
        finite = not tensors or bool(_all_finite(tensors))
        # Statistics of batch normalisation differ between processes; all must stop together.
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise InputError(
                f"weights are not finite after epoch {trainer.current_epoch}; the checkpoints are those of the epochs "
                "before. Go on from one with --ckpt_path and a smaller learning rate, or --trainer.precision 32-true"
            )


def _all_finite(tensors: list[Tensor]) -> Tensor:
    # The largest magnitude, unlike a sum of squares, overflows for no finite tensor.
    norms = torch._foreach_norm(tensors, ord=float("inf"))
    return torch.stack([norm.float() for norm in norms]).isfinite().all()


def _values(notes: list[tuple[Tensor, list[str]]]) -> list[bool]:
    """One copy from the device for all of them."""
    values: list[bool] = torch.stack([finite for finite, _ in notes]).tolist() if notes else []
    return values
