"""Parameter groups, learning-rate schedules, warm-up, accumulation and the weight average, as functions of counters.

Nothing here keeps state: the rate of a step follows from the batch counter and the epoch alone, so a resumed run goes
on exactly where it stopped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Optimizer

__all__ = [
    "ConstantSchedule",
    "CosineSchedule",
    "LinearSchedule",
    "Schedule",
    "StableDecaySchedule",
    "Warmup",
    "ema_decay",
    "momentum_key",
    "parameter_groups",
    "scale_weight_decay",
]


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Splits the trainable parameters into the three groups of YOLOv5.

    Biases and the scales of normalisation layers are not decayed; a parameter is classified by the module that owns it.
    The group ``weight`` leaves ``weight_decay`` to the optimizer's own argument.

    Args:
        module: The network; frozen parameters are left out.

    Returns:
        Groups named ``bias``, ``weight`` and ``norm``, in this order; empty ones are left out.
    """
    public = (
        kind for name, kind in vars(nn).items() if "Norm" in name and isinstance(kind, type) and name != "CrossMapLRN2d"
    )
    # Lightning leaves a class of its own where it had synchronised batch normalisation.
    normalisation = (_NormBase, *public)
    groups: dict[str, list[nn.Parameter]] = {"bias": [], "weight": [], "norm": []}
    seen: set[int] = set()
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if name == "bias":
                groups["bias"].append(parameter)
            elif isinstance(owner, normalisation):
                groups["norm"].append(parameter)
            else:
                groups["weight"].append(parameter)
    no_decay = {"weight_decay": 0.0}
    return [
        {"params": parameters, "name": name, **({} if name == "weight" else no_decay)}
        for name, parameters in groups.items()
        if parameters
    ]


def scale_weight_decay(optimizer: Optimizer, factor: float) -> None:
    """Multiplies every group's weight decay, so that its strength per image is that of the nominal batch."""
    for group in optimizer.param_groups:
        if group.get("weight_decay"):
            group["weight_decay"] *= factor


def momentum_key(optimizer: Optimizer) -> str | None:
    """Name of the momentum in the optimizer's groups, None if it has none (Adam's betas are left alone)."""
    return "momentum" if "momentum" in optimizer.defaults else None


class Schedule(ABC):
    """Learning rate over the epochs. Subclass it for a schedule of your own."""

    @abstractmethod
    def factor(self, epoch: float, num_epochs: int) -> float:
        """Learning rate at ``epoch`` (from 0) of ``num_epochs``, as a fraction of the optimizer's rate."""


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """Falls in a straight line from 1 to the final factor.

    Args:
        final_factor: Rate after the last epoch, as a fraction of the initial one.
    """

    final_factor: float = 0.01

    def factor(self, epoch: float, num_epochs: int) -> float:
        """See `Schedule.factor`."""
        return (1 - epoch / num_epochs) * (1 - self.final_factor) + self.final_factor


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Falls along half a cosine from 1 to the final factor.

    Args:
        final_factor: Rate after the last epoch, as a fraction of the initial one.
    """

    final_factor: float = 0.01

    def factor(self, epoch: float, num_epochs: int) -> float:
        """See `Schedule.factor`."""
        return (1 - math.cos(math.pi * epoch / num_epochs)) / 2 * (self.final_factor - 1) + 1


@dataclass(frozen=True)
class StableDecaySchedule(Schedule):
    """Stays at 1, then falls to the final factor over the last part of the run (https://arxiv.org/abs/2405.18392).

    The epochs before the fall do not depend on the number of epochs: a run that is resumed from a checkpoint of these
    with more ``max_epochs`` is the longer run.

    Args:
        final_factor: Rate after the last epoch, as a fraction of the initial one.
        decay_fraction: Part of the epochs over which the rate falls, in (0, 1].
        decay: How it falls: as 1 − √x, fast at first, or in a straight line.

    Raises:
        ValueError: If the fraction is out of range, or there is no such way to fall.
    """

    final_factor: float = 0.01
    decay_fraction: float = 0.2
    decay: Literal["sqrt", "linear"] = "sqrt"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        if not 0 < self.decay_fraction <= 1:
            raise ValueError(f"decay_fraction must be in (0, 1], got {self.decay_fraction}")
        if self.decay not in ("sqrt", "linear"):
            raise ValueError(f'decay must be "sqrt" or "linear", not {self.decay!r}')

    def factor(self, epoch: float, num_epochs: int) -> float:
        """See `Schedule.factor`."""
        length = self.decay_fraction * num_epochs
        progress = max(0.0, 1 - (num_epochs - epoch) / length)
        fall = math.sqrt(progress) if self.decay == "sqrt" else progress
        return 1 - fall * (1 - self.final_factor)


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """Keeps the initial rate; the only schedule that needs no number of epochs."""

    def factor(self, epoch: float, num_epochs: int) -> float:
        """See `Schedule.factor`."""
        return 1.0


@dataclass(frozen=True)
class Warmup:
    """YOLOv5's warm-up: rate, bias rate, momentum and accumulation grow in a straight line with the batch counter.

    Args:
        epochs: Length in epochs, fractions allowed; 0 for none.
        min_batches: The warm-up takes at least this many batches, unless ``epochs`` is 0.
        bias_lr: Rate at which the biases begin; all other parameters begin at 0. None means 0.1 for SGD and 0 for
            optimizers such as Adam or RMSprop, whose steps do not shrink with the gradient.
        momentum: Momentum at the beginning, for optimizers that use one.
    """

    epochs: float = 3.0
    min_batches: int = 100
    bias_lr: float | None = None
    momentum: float = 0.8

    def num_batches(self, batches_per_epoch: int) -> int:
        """Length in batches."""
        return max(round(self.epochs * batches_per_epoch), self.min_batches) if self.epochs > 0 else 0

    def accumulate(self, batch: int, batches_per_epoch: int, target: float) -> int:
        """Batches to accumulate at the global batch counter ``batch``, growing from 1 to ``target``."""
        return max(1, round(self._interpolate(batch, batches_per_epoch, 1.0, target)))

    def apply(self, optimizer: Optimizer, batch: int, batches_per_epoch: int, factor: float) -> None:
        """Sets rates and momentum for the global batch counter ``batch``.

        Args:
            optimizer: Its groups' values at construction are the targets; they are kept in the groups as
                ``initial_lr`` and ``initial_momentum``, and so in its state.
            batch: Batches since training began, from 0.
            batches_per_epoch: Batches in an epoch.
            factor: The schedule's factor of the epoch.
        """
        momentum = momentum_key(optimizer)
        bias_lr = self.bias_lr if self.bias_lr is not None else 0.1 if isinstance(optimizer, SGD) else 0.0
        for group in optimizer.param_groups:
            target = group.setdefault("initial_lr", group["lr"]) * factor
            start = bias_lr if group.get("name") == "bias" else 0.0
            group["lr"] = self._interpolate(batch, batches_per_epoch, start, target)
            # An optimizer made without momentum, which RMSprop is by default, has none in the warm-up either.
            if momentum and (final := group.setdefault("initial_momentum", group[momentum])):
                group[momentum] = self._interpolate(batch, batches_per_epoch, self.momentum, final)

    def _interpolate(self, batch: int, batches_per_epoch: int, start: float, end: float) -> float:
        length = self.num_batches(batches_per_epoch)
        return end if batch >= length else start + (end - start) / length * batch


def ema_decay(update: int, decay: float = 0.9999, ramp: float = 2000.0) -> float:
    """Decay of the weight average at its ``update``-th update (from 1), ramped so that early weights are forgotten."""
    return decay * (1 - math.exp(-update / ramp))
