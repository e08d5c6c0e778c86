"""Exponential moving average of the weights with YOLOv5's ramped decay, on Lightning's own callback."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from yolo_lightning.optim import ema_decay

__all__ = ["EMA"]


class EMA(WeightAveraging):
    """Validates, saves and ends with an exponential moving average of the weights.

    After every optimizer step u: ``average ← d · average + (1 − d) · weights``, where
    ``d = decay · (1 − exp(−u / ramp))``, for parameters and floating-point buffers.
    Checkpoints hold the average as ``state_dict``.

    Args:
        decay: Decay after many updates; 0 makes the average follow the weights.
        ramp: Number of updates in which the decay grows to 63 % of its final value.
    """

    def __init__(self, decay: float = 0.9999, ramp: float = 2000.0) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema.decay must be in [0, 1), got {decay}")
        if ramp <= 0:
            raise ValueError(f"ema.ramp must be positive, got {ramp}")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self.ramp = ramp
        self._update = 0
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the average for fit; an evaluation that follows takes the module's weights as they are then."""
        super().setup(trainer, pl_module, stage)
        self._latest_update_step = trainer.global_step
        if stage != "fit":
            self._average_model = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the average, a copy of the weights made on the CPU, beside them."""
        self._averaged.to(pl_module.device)
        # AveragedModel would copy instead of average at its first update; the copy has happened already.
        self._averaged.n_averaged.fill_(1)
        if any(
            average.dtype != weight.dtype
            for average, weight in zip(self._averaged.module.parameters(), pl_module.parameters(), strict=True)
        ):  # weights kept in half precision (bf16-true): AveragedModel takes such pairs one by one only
            self._averaged.multi_avg_fn, self._averaged.avg_fn = None, self._average_one

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Averages after every optimizer step."""
        self._update = trainer.global_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swaps the average in; each process has its own batch statistics, those of the first one count."""
        if self._average_model is not None:
            broadcast_buffers(trainer, self._averaged.module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the module, the same in every process."""
        broadcast_buffers(trainer, self._averaged.module)
        super().on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Puts the weights back when validation is interrupted, so that a checkpoint saved now is right."""
        if self._average_model is not None and self._swapped:
            self._swap_models(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Stores the average as ``state_dict``; outside fit there is none, and the module is stored as it is."""
        if self._average_model is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores average and weights; outside fit the average has been loaded as the weights already."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    @property
    def _averaged(self) -> torch.optim.swa_utils.AveragedModel:
        assert self._average_model is not None
        return self._average_model

    @torch.no_grad()
    def _average(self, averages: list[Tensor], weights: list[Tensor], _num_averaged: Tensor) -> None:
        if averages[0].is_floating_point():
            # lerp keeps a frozen tensor, which equals its average, bit by bit.
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        else:
            torch._foreach_copy_(averages, weights)

    @torch.no_grad()
    def _average_one(self, average: Tensor, weight: Tensor, _num_averaged: Tensor | int) -> Tensor:
        return average.lerp(weight.to(average.dtype), 1 - self._decay) if average.is_floating_point() else weight

    @property
    def _decay(self) -> float:
        return ema_decay(self._update, self.decay, self.ramp)


def broadcast_buffers(trainer: Trainer, module: nn.Module) -> None:
    """Gives every process the first one's buffers (batch-norm statistics)."""
    if trainer.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
