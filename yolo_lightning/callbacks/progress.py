"""Progress bar with what a trainer of detectors watches."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor

from yolo_lightning.types import Batch

__all__ = ["DetectionProgressBar"]


class DetectionProgressBar(TQDMProgressBar):
    """Shows the mean losses of the epoch so far, instances and image size of the last batch, and the last validation.

    Tensors are read only when the bar is redrawn, so that no step waits for the device.

    Args:
        refresh_rate: Batches between two redraws; 0 hides the bar.
        leave: Keep the bar of a finished epoch on the screen.
    """

    def __init__(self, refresh_rate: int = 10, leave: bool = True) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._sum: Tensor | None = None
        self._num_batches = 0
        self._names: tuple[str, ...] = ()
        self._last: dict[str, str] = {}

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begins the means of a new epoch."""
        self._sum, self._num_batches = None, 0
        super().on_train_epoch_start(trainer, *args)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Adds the losses of a batch to the means."""
        terms: Tensor = outputs["terms"]
        self._sum = terms if self._sum is None else self._sum + terms
        self._num_batches += 1
        height, width = batch.size
        self._last = {"instances": str(len(batch.labels)), "size": f"{height}x{width}"}
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        shown: dict[str, int | str | float | dict[str, float]] = {}
        if self._sum is not None:
            means = (self._sum / self._num_batches).tolist()
            names = getattr(pl_module.loss, "names", ("box", "objectness", "classification"))
            shown.update({name: f"{mean:.4f}" for name, mean in zip(names, means, strict=False)})
            shown.update(self._last)
        for name, key in (("mAP50", "val/yolov5_map_50"), ("mAP50-95", "val/yolov5_map")):
            if (value := trainer.callback_metrics.get(key)) is not None:
                shown[name] = f"{float(torch.as_tensor(value)):.4f}"
        return shown
