"""Where the parameters, operations and milliseconds of a network are, layer by layer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from yolo_lightning.models import Detector
from yolo_lightning.tools.flops import flops_by_module
from yolo_lightning.tools.latency import wait_for

__all__ = ["Layer", "profile_network"]

_WARMUP = 3


@dataclass(frozen=True)
class Layer:
    """A layer of a network, with all that is in it.

    Args:
        name: Path to it from the network; empty for the whole network.
        kind: Name of its class.
        depth: Layers that it is in.
        parameters: Numbers that are learnt.
        flops: Floating-point operations for the images, a multiplication and an addition being two.
        milliseconds: Median time as the network is trained, with batch normalisation apart.
        fused_milliseconds: The same where that is folded into the convolutions, as in inference.
    """

    name: str
    kind: str
    depth: int
    parameters: int
    flops: int
    milliseconds: float
    fused_milliseconds: float


@torch.no_grad()
def profile_network(detector: Detector, images: Tensor, *, depth: int = 2, seconds: float = 5.0) -> list[Layer]:
    """Counts and times the layers of a network, the plain and the fused one by turns.

    A layer's time includes a few microseconds of measuring, and on a GPU that it is waited for after each layer.

    Args:
        detector: On the device of the images.
        images: (B, C, H, W) floating point in 0…1.
        depth: How deep to go: 1 is backbone, neck and head; lists of layers do not count.
        seconds: How long to measure; at least 5 times.

    Returns:
        The whole network, then its layers as they run, each before those in it.
    """
    plain = detector.eval()
    fused = plain.fuse()
    layers = dict(_layers(plain, depth))
    flops = flops_by_module(plain, images.shape)
    watches = [_Stopwatch(network, layers, images.device) for network in (plain, fused)]
    for _ in range(_WARMUP):
        for network in (plain, fused):
            network(images)
    began, num_rounds = perf_counter(), 0
    with watches[0].watching(), watches[1].watching():
        while num_rounds < 5 or perf_counter() - began < seconds:
            for network in (plain, fused):
                network(images)
            for watch in watches:
                watch.end_of_run()
            num_rounds += 1
    return [
        Layer(
            name,
            type(module).__name__,
            depth_of_layer,
            sum(parameter.numel() for parameter in module.parameters()),
            flops.get(name, 0),
            watches[0].milliseconds(name),
            watches[1].milliseconds(name),
        )
        for name in watches[0].order()
        for module, depth_of_layer in [layers[name]]
    ]


def _layers(
    module: nn.Module, depth: int, name: str = "", level: int = 0
) -> Iterator[tuple[str, tuple[nn.Module, int]]]:
    """Modules by name with their depth; lists, which do not run themselves, are passed through."""
    is_list = isinstance(module, nn.ModuleList | nn.ModuleDict)
    if not is_list:
        yield name, (module, level)
    if level < depth:
        for child_name, child in module.named_children():
            inner = level + (not isinstance(child, nn.ModuleList | nn.ModuleDict))
            yield from _layers(child, depth, f"{name}.{child_name}".lstrip("."), inner)


class _Stopwatch:
    """Seconds of the layers of a network in each of its runs, taken by hooks."""

    def __init__(self, network: nn.Module, names: dict[str, tuple[nn.Module, int]], device: torch.device) -> None:
        self._modules = {name: network.get_submodule(name) for name in names}
        self._device = device
        self._began: dict[str, float] = {}
        self._run: dict[str, float] = {}
        self._runs: list[dict[str, float]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks into the network for as long as the block lasts."""
        hooks = []
        for name, module in self._modules.items():
            hooks.append(module.register_forward_pre_hook(self._begin_hook(name)))
            hooks.append(module.register_forward_hook(self._end_hook(name)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def end_of_run(self) -> None:
        """Keeps the times of a run."""
        self._runs.append(self._run)
        self._run = {}

    def milliseconds(self, name: str) -> float:
        """Median over the runs; a layer that runs several times in one has them together."""
        return 1000 * statistics.median(run.get(name, 0.0) for run in self._runs)

    def order(self) -> list[str]:
        """Layers that ran, as they began."""
        return list(self._began)

    def _begin_hook(self, name: str) -> Callable[..., None]:
        def begin(*_: object) -> None:
            wait_for(self._device)
            self._began[name] = perf_counter()

        return begin

    def _end_hook(self, name: str) -> Callable[..., None]:
        def end(*_: object) -> None:
            wait_for(self._device)
            self._run[name] = self._run.get(name, 0.0) + perf_counter() - self._began[name]

        return end
