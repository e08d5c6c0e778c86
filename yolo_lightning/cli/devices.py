"""Devices, strategy and precision of a run: what to take, and what is refused with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.plugins import HalfPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from yolo_lightning.errors import InputError

__all__ = ["BFloat16Weights", "check_devices", "default_precision"]

_SHARDING = (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)


class BFloat16Weights(HalfPrecision):
    """``bf16-true`` for detectors: weights and activations are bfloat16, boxes are not.

    Lightning's own would round the boxes of the labels, by up to two pixels at 640, before the module sees them. The
    module converts images itself; losses and figures are computed in float32.
    """

    def __init__(self) -> None:
        super().__init__("bf16-true")

    def convert_input(self, data: Any) -> Any:
        """Leaves the batch as it is."""
        return data

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Leaves the default type of new tensors as it is."""
        yield


def check_devices(trainer: Namespace) -> None:
    """Refuses what does not work before processes are started, which would fail one after the other.

    Args:
        trainer: Configuration of the Trainer.

    Raises:
        InputError: With what to use instead.
    """
    on_cpu, devices, precision = _on_cpu(trainer.accelerator), trainer.devices, str(trainer.precision)
    if on_cpu and (isinstance(devices, list) or str(devices) == "0" or "," in str(devices)):
        raise InputError(
            f"--trainer.devices {devices} names devices by index, but this run is on the CPU, where it is the "
            "number of processes: use `--trainer.devices 2` for two. On a GPU, `0,` or `[0]` is the first one alone."
        )
    if on_cpu and precision in {"16", "16-mixed"}:
        raise InputError(f"--trainer.precision {precision} needs a GPU: on the CPU use 32-true or bf16-mixed")
    if precision == "16-true":
        raise InputError("--trainer.precision 16-true is too coarse to train and to measure: use 16-mixed or bf16-true")
    strategy = trainer.strategy if isinstance(trainer.strategy, str) else type(trainer.strategy).__name__.lower()
    distributed = trainer.num_nodes * _number(devices) > 1 or strategy.startswith("ddp")
    if on_cpu and trainer.sync_batchnorm and distributed:
        raise InputError("--trainer.sync_batchnorm works between GPUs only: leave it out on the CPU")
    if isinstance(trainer.strategy, _SHARDING) or strategy.startswith(("fsdp", "deepspeed")):
        raise InputError(
            "a strategy that shards the weights (FSDP, DeepSpeed) cannot be used, as the average of the weights is a "
            "whole copy of the network, which those do not allow: use `--trainer.strategy ddp`"
        )


def default_precision(accelerator: Any) -> str:
    """Precision where none is asked for: bfloat16 where the device has it, else fp16 with a scaler; 32 bits on CPU."""
    if _on_cpu(accelerator) or not torch.cuda.is_available():
        precision = "32-true"
    else:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if native else "16-mixed"
    rank_zero_info(f"Precision: {precision} (choose another with --trainer.precision)")
    return precision


def _on_cpu(accelerator: Any) -> bool:
    if accelerator == "auto":
        return not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return bool(accelerator == "cpu")


def _number(devices: Any) -> int:
    return int(devices) if str(devices).isdigit() else 1
