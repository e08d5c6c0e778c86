"""Takes whole channels out of a network: torch-pruning knows which layers share them, FLOPs tell which are worth it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.models import Detector, build_detector
from yolo_lightning.models.pruned import describe_pruned, is_narrowable
from yolo_lightning.tools.flops import flops_by_module

__all__ = ["Importance", "prune_channels"]

Importance = Literal["l1", "l2", "bn"]

# Widths that processors like; a group keeps at least as many, and an eighth of its channels.
_BLOCK = 8
_LEAST_SHARE = 8
# What may stand between layers. Channels that reach the network's output, or parameters outside layers, stay.
_FREE_OPERATIONS = ("CONCAT", "SPLIT", "ELEMENTWISE", "RESHAPE", "SLICE")


def prune_channels(detector: Detector, flops: float, importance: Importance = "l2", image_size: int = 640) -> Detector:
    """A smaller network without a share of the floating-point operations.

    Channels that layers share, by concatenation or residual connections, are a group and go together, eight at a time.
    The next to go are those that are the smallest part of what is left of their group's importance, for the operations
    that they save. What the head gives stays, and so do groups with layers other than convolutions, linear layers and
    batch normalisation.

    Args:
        detector: Not changed.
        flops: Share of the operations to remove, above 0 and below 1; at least as many go.
        importance: Of a channel: L1 or L2 norm of all weights of its group, or scale of its batch normalisations.
        image_size: Side of the images in pixels for which operations count, a multiple of the stride.

    Returns:
        A :class:`~yolo_lightning.models.PrunedDetector` in evaluation mode, on the CPU.

    Raises:
        InputError: If torch-pruning is missing or cannot follow the network, or so much cannot be removed.
    """
    library = require("torch_pruning", "prune", "to remove channels")
    network = copy.deepcopy(detector).cpu().eval().requires_grad_(True)
    example = torch.rand(1, network.in_channels, 2 * network.strides[-1], 2 * network.strides[-1])
    with _followed():
        _prune(library, network, example, flops, importance, image_size)
        return _rebuild(detector, network, example)


@contextmanager
def _followed() -> Iterator[None]:
    """Around all that the library does with a network, which may be of the user's own and of any form."""
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters outside layers, whose groups stay as they are
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"torch-pruning cannot follow this network ({type(error).__name__}: {error}): prune it with --method "
            "magnitude"
        ) from error


def _prune(
    library: Any, network: Detector, example: Tensor, flops: float, importance: Importance, image_size: int
) -> None:
    """Takes channels out of a network, in place."""
    graph = library.DependencyGraph().build_dependency(network, example_inputs=example)
    for node in graph.module2node.values():
        # The library takes every concatenation after a parameter of three dimensions for one of a transformer's tokens.
        node.enable_index_mapping = True
    names = {module: name for name, module in network.named_modules()}
    operations = flops_by_module(network, (1, network.in_channels, image_size, image_size))
    layers = {
        module: _Layer(module, operations.get(name, 0)) for module, name in names.items() if is_narrowable(module)
    }
    groups = list(_groups(library, graph, layers, importance))
    _choose(groups, operations[""], flops)
    for group in groups:
        if group.num_removed:
            prune = graph.get_pruner_of_module(group.root).prune_out_channels
            graph.get_pruning_group(group.root, prune, group.order[: group.num_removed]).prune()


class _Layer:
    """A layer with the channels that are planned for it, and what it computes.

    Args:
        module: The layer.
        operations: Floating-point operations of an image at its present channels.
    """

    def __init__(self, module: nn.Module, operations: int) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        self.grouped = isinstance(module, nn.Conv2d) and module.groups > 1
        self.inputs, self.outputs = (weight.shape[1] if weight.ndim > 1 else 1), weight.shape[0]
        self._unit = operations / (self.inputs * self.outputs)

    def operations(self, fewer_inputs: int = 0, fewer_outputs: int = 0) -> float:
        """Operations with so many channels less than planned now."""
        inputs = self.inputs if self.grouped else self.inputs - fewer_inputs
        return self._unit * inputs * (self.outputs - fewer_outputs)

    def narrow(self, inputs: int, outputs: int) -> None:
        """Plans fewer channels."""
        self.inputs -= 0 if self.grouped else inputs
        self.outputs -= outputs


@dataclass
class _Group:
    """Channels that go together.

    Args:
        root: The layer whose outputs number them.
        order: Their numbers, the least important first.
        importance: In this order.
        effects: Layers with how many inputs and outputs they lose for each channel.
        num_removed: How many of the first are planned to go.
    """

    root: nn.Module
    order: list[int]
    importance: list[float]
    effects: list[tuple[_Layer, int, int]]
    num_removed: int = field(default=0)

    def next_block(self) -> int:
        """How many channels go next, so that a multiple of eight stays; 0 if none may."""
        left = len(self.order) - self.num_removed
        step = max(len(self.order) // 16 // _BLOCK, 1) * _BLOCK  # wide groups in larger steps
        block = left - (left - 1) // _BLOCK * _BLOCK if left % _BLOCK else step
        return block if left - block >= max(_BLOCK, len(self.order) / _LEAST_SHARE) else 0

    def saved(self, block: int) -> float:
        """Operations that go with the next so many channels."""
        return sum(
            layer.operations() - layer.operations(block * inputs, block * outputs)
            for layer, inputs, outputs in self.effects
        )

    def lost(self, block: int) -> float:
        """The importance of the next so many channels as a share of what is left of the group's."""
        left = self.importance[self.num_removed :]
        return sum(left[:block]) / max(sum(left), 1e-12)

    def remove(self, block: int) -> None:
        """Plans to remove the next so many channels."""
        self.num_removed += block
        for layer, inputs, outputs in self.effects:
            layer.narrow(block * inputs, block * outputs)


def _groups(library: Any, graph: Any, layers: dict[nn.Module, _Layer], importance: Importance) -> Sequence[_Group]:
    """Groups whose channels may go."""
    if importance == "bn":
        score = library.importance.BNScaleImportance()
    else:
        score = library.importance.GroupMagnitudeImportance(p=1 if importance == "l1" else 2)
    free = {library.ops.OPTYPE[name] for name in _FREE_OPERATIONS}
    found = []
    for group in graph.get_all_groups(root_module_types=(nn.Conv2d, nn.Linear)):
        targets = [(dependency.target, dependency.handler, indices) for dependency, indices in group]
        if not all(target.module in layers or target.type in free for target, _, _ in targets):
            continue
        scores = score(group)
        if scores is None:
            continue
        root = group[0].dep.target.module
        effects: dict[nn.Module, list[int]] = {}
        for target, handler, indices in targets:
            if target.module in layers:
                effect = effects.setdefault(target.module, [0, 0])
                effect[graph.is_out_channel_pruning_fn(handler)] += len(indices) // len(scores)
        order = scores.argsort().tolist()
        own = [(layers[module], inputs, outputs) for module, (inputs, outputs) in effects.items()]
        found.append(_Group(root, order, scores[order].tolist(), own))
    return found


def _choose(groups: Sequence[_Group], total: float, flops: float) -> None:
    """Plans which channels go.

    Raises:
        InputError: If there are not enough.
    """
    removed = 0.0
    while removed < flops * total:
        blocks = [(group, block) for group in groups if (block := group.next_block()) and group.saved(block) > 0]
        if not blocks:
            raise InputError(
                f"{flops:.0%} of the FLOPs cannot be removed: without the channels that must stay, at most "
                f"{removed / total:.0%} of this network's can; ask for less with --flops"
            )
        group, block = min(blocks, key=lambda pair: pair[0].lost(pair[1]) / pair[0].saved(pair[1]))
        removed += group.saved(block)
        group.remove(block)


@torch.no_grad()
def _rebuild(detector: Detector, network: Detector, example: Tensor) -> Detector:
    """The network made anew as a checkpoint will tell of it, and seen to be the same."""
    before, now = (each.cpu().eval()(example) for each in (copy.deepcopy(detector), network))
    rebuilt = build_detector(describe_pruned(detector, network), detector.num_classes).eval()
    rebuilt.load_state_dict(network.state_dict())
    if [x.shape for x in before] != [x.shape for x in now] or not all(map(torch.equal, now, rebuilt(example))):
        raise ValueError("without these channels it is another")
    return rebuilt
