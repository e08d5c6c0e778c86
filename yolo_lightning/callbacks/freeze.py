"""Layers that stay as they are, for a whole run or for its first epochs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector, official_layers

__all__ = ["Freeze", "select_modules"]


class Freeze(Callback):
    """Keeps layers as they are, for the whole run or for its first epochs.

    No tensor of a frozen layer changes, in the network or in its average: it has no gradient and no decay, and it runs
    in evaluation mode, so that the statistics of batch normalisation stand still too (in YOLOv5 they move on).

    What is frozen follows from the epoch alone, so a resumed run goes on exactly where it stopped. The rates of layers
    that learn later are logged from the beginning, as ``lr/<group>_unfrozen``.

    Args:
        layers: What to freeze: the first N layers as YOLOv5 counts them (10 is its backbone), or a list of numbers of
            layers and of names of modules in the detector, such as ``backbone`` or ``neck.reduce``, with all that is in
            them. 0 for nothing.
        unfreeze_epoch: First epoch, counted from 0, in which the frozen layers learn. None for never.
        unfreeze_lr_factor: Learning rate of these layers from then on, as a fraction of that of the others.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, layers: int | list[int | str] = 0, unfreeze_epoch: int | None = None, unfreeze_lr_factor: float = 1.0
    ) -> None:
        if isinstance(layers, int) and layers < 0:
            raise ValueError(f"freeze.layers must be a number of layers, 0 for none, or a list; got {layers}")
        if unfreeze_epoch is not None and unfreeze_epoch < 1:
            raise ValueError(
                f"freeze.unfreeze_epoch must be at least 1, got {unfreeze_epoch}; freeze.layers 0 freezes nothing"
            )
        if unfreeze_lr_factor <= 0:
            raise ValueError(f"freeze.unfreeze_lr_factor must be positive, got {unfreeze_lr_factor}")
        self.layers = layers
        self.unfreeze_epoch = unfreeze_epoch
        self.unfreeze_lr_factor = unfreeze_lr_factor
        self._modules: list[str] = []
        # What a caller froze before stays so when we unfreeze: names of what we switched ourselves.
        self._parameters: set[str] = set()
        self._in_training: set[str] = set()
        self._frozen = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds the layers, and freezes for good before DDP and the optimizer look for what is to be trained.

        Raises:
            InputError: If the network has no such layer, or nothing is left to train.
        """
        if stage != "fit" or not self.layers:
            return
        self._modules = [f"detector.{name}" for name in select_modules(_detector(pl_module), self.layers)]
        self._parameters = {name for name, parameter in self._inside(pl_module) if parameter.requires_grad}
        self._in_training = {name for name, module in self._modules_inside(pl_module) if module.training}
        self._check(trainer, pl_module)
        self._frozen = True
        if self.unfreeze_epoch is None:
            self._set_requires_grad(pl_module, False)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes for some epochs: the optimizer already has the parameters, in groups that it keeps for the whole run.

        Raises:
            InputError: If the strategy spreads one network over several devices.
        """
        if self._frozen and self.unfreeze_epoch is not None:
            frozen = [parameter for name, parameter in self._inside(pl_module) if name in self._parameters]
            for optimizer in trainer.optimizers:
                _split_groups(optimizer, frozen, self.unfreeze_lr_factor)
            self._set_requires_grad(pl_module, False)
            _renew_reduction(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreezes when the epoch has come, or is past in a resumed run."""
        if self._frozen and self.unfreeze_epoch is not None and trainer.current_epoch >= self.unfreeze_epoch:
            self._unfreeze(pl_module)
            _renew_reduction(trainer, pl_module)
            rank_zero_info(
                f"Unfreeze: all layers learn from epoch {trainer.current_epoch} on, those that were frozen at "
                f"{self.unfreeze_lr_factor:g} × the learning rate"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Puts what is frozen into evaluation mode, whatever has switched modes since the last batch."""
        if self._frozen:
            for name in self._modules:
                pl_module.get_submodule(name).eval()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the module as it was."""
        self._unfreeze(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the module as it was."""
        self._unfreeze(pl_module)

    def _unfreeze(self, pl_module: LightningModule) -> None:
        if self._frozen:
            self._frozen = False
            self._set_requires_grad(pl_module, True)
            for name, module in self._modules_inside(pl_module):
                module.training = name in self._in_training

    def _set_requires_grad(self, pl_module: LightningModule, value: bool) -> None:
        for name, parameter in self._inside(pl_module):
            if name in self._parameters:
                parameter.requires_grad_(value)

    # By name, and looked up each time: SyncBatchNorm takes the place of modules after `setup`.
    def _inside(self, pl_module: LightningModule) -> Iterator[tuple[str, nn.Parameter]]:
        for root in self._modules:
            yield from pl_module.get_submodule(root).named_parameters(prefix=root)

    def _modules_inside(self, pl_module: LightningModule) -> Iterator[tuple[str, nn.Module]]:
        for root in self._modules:
            yield from pl_module.get_submodule(root).named_modules(prefix=root)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        frozen = {id(parameter): parameter.numel() for _, parameter in self._inside(pl_module)}
        if not any(p.requires_grad and id(p) not in frozen for p in pl_module.parameters()):
            raise InputError(f"freeze.layers={self.layers} leaves nothing to train: freeze fewer layers")
        until = ""
        if self.unfreeze_epoch is not None:
            until = f" until epoch {self.unfreeze_epoch}"
            if 0 < (trainer.max_epochs or 0) <= self.unfreeze_epoch:
                rank_zero_warn(
                    f"freeze.unfreeze_epoch {self.unfreeze_epoch} is not among the {trainer.max_epochs} epochs of this "
                    "run (counted from 0): the layers stay frozen"
                )
        total = sum(parameter.numel() for parameter in pl_module.parameters())
        rank_zero_info(f"Freeze: {sum(frozen.values()):,} of {total:,} parameters stay as they are{until}")


def select_modules(detector: Detector, layers: int | Sequence[int | str]) -> list[str]:
    """Names of the modules in a detector that hold the given layers.

    Args:
        detector: The network.
        layers: The first N layers as YOLOv5 counts them, or numbers of layers and names of modules. Layers without
            tensors, such as upsampling, have a number there but no module here, and are passed over.

    Raises:
        InputError: If the network has no such layer; the message lists what it has.
    """
    names = {id(module): name for name, module in detector.named_modules() if name}
    numbered = {number: names[id(layer)] for number, layer in official_layers(detector)}
    selected = []
    for layer in range(layers) if isinstance(layers, int) else layers:
        if isinstance(layer, int) and layer in numbered:
            selected.append(numbered[layer])
        elif isinstance(layer, str) and layer in names.values():
            selected.append(layer)
        elif isinstance(layer, str) or not numbered or not min(numbered) < layer < max(numbered):
            numbers = f"numbers {min(numbered)}…{max(numbered)}, " if numbered else ""
            parts = ", ".join(name for name in names.values() if name.count(".") < 2)
            raise InputError(f"freeze.layers: the network has no layer {layer!r}. It has {numbers}names {parts}")
    return selected


def _detector(pl_module: LightningModule) -> Detector:
    detector = getattr(pl_module, "detector", None)
    if not isinstance(detector, Detector):
        raise InputError(f"freeze.layers: {type(pl_module).__name__} has no `detector` whose layers could be frozen")
    return detector


def _split_groups(optimizer: Optimizer, parameters: Iterable[nn.Parameter], lr_factor: float) -> None:
    """Moves parameters into groups of their own, which differ from the old ones in name and learning rate."""
    moved = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        later = [parameter for parameter in group["params"] if id(parameter) in moved]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in moved]
        if later:
            name = f"{group.get('name', 'all')}_unfrozen"
            optimizer.add_param_group({**group, "params": later, "name": name, "lr": group["lr"] * lr_factor})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _renew_reduction(trainer: Trainer, pl_module: LightningModule) -> None:
    """Wraps the network anew under DDP, which notes only once which parameters have gradients to average."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        strategy.model = pl_module
        strategy.configure_ddp()
    elif isinstance(strategy, ParallelStrategy):
        raise InputError(
            f"freeze.unfreeze_epoch works on one device and with DDP, not with {type(strategy).__name__}: leave it "
            "out, and fine-tune in a second run with `--model.weights <checkpoint of the first>`"
        )
