"""A detector with fewer channels than its parts make, as pruning leaves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolo_lightning.errors import InputError
from yolo_lightning.models.backbone import Backbone, CSPDarknet
from yolo_lightning.models.build import build_detector, describe
from yolo_lightning.models.checkpoint import Checkpoint
from yolo_lightning.models.detector import Detector
from yolo_lightning.models.head import Head, YOLOv5Head
from yolo_lightning.models.neck import PAFPN, Neck
from yolo_lightning.types import FeatureInfo

__all__ = ["PrunedDetector", "describe_pruned", "is_narrowable", "pruned_description"]

_CLASS_PATH = "yolo_lightning.models.PrunedDetector"


class PrunedDetector(Detector):
    """A network of fewer channels than its parts make; ``yolo-lightning prune`` writes weights of such ones.

    Args:
        num_classes: Number of classes.
        backbone: Makes the backbone, at its full width.
        neck: Makes the neck from the backbone's features, at its full width.
        head: Makes the head from the neck's features and the number of classes.
        channels: What is left of layers that were narrowed, by the layer's name: channels of the input and of the
            output of a convolution or linear layer, channels of a batch normalisation. None stands for all of them.

    Attributes:
        channels: As given.

    Raises:
        ValueError: If there is no such layer, it has not so many channels, or they do not fit those of the next layer.
    """

    def __init__(
        self,
        num_classes: int = 80,
        backbone: Callable[[], Backbone] = CSPDarknet,
        neck: Callable[[FeatureInfo], Neck] = PAFPN,
        head: Callable[[FeatureInfo, int], Head] = YOLOv5Head,
        channels: Mapping[str, Sequence[int | None]] | None = None,
    ) -> None:
        super().__init__(num_classes, backbone, neck, head)
        if not isinstance(channels, Mapping | None):
            raise ValueError(f"channels must be widths by the name of a layer, not {channels!r}")
        self.channels = {name: list(widths) for name, widths in (channels or {}).items()}
        modules = dict(self.named_modules())
        for name, widths in self.channels.items():
            if name not in modules:
                raise ValueError(f"channels: the network has no layer {name!r}")
            _narrow(modules[name], name, widths)
        try:
            self._measure_features()
        except RuntimeError as error:
            raise ValueError(f"channels: layers that follow each other differ in width ({error})") from error

    @torch.no_grad()
    def _measure_features(self) -> None:
        """Notes the channels of the maps, which the parts cannot know."""
        self.eval()  # one image of one cell is no batch to normalise by
        side = self.strides[-1]
        images = torch.zeros(1, self.in_channels, side, side, device=next(self.parameters()).device)
        maps = self.backbone(images)
        self.backbone.features = _with_channels(self.backbone.features, maps)
        self.neck.features = _with_channels(self.neck.features, self.neck(maps))
        self.train()


def describe_pruned(detector: Detector, pruned: Detector) -> dict[str, Any]:
    """The description, as :func:`~yolo_lightning.models.describe` has it, of what pruning left of a detector.

    Args:
        detector: A plain detector or a pruned one; not changed.
        pruned: A copy of it whose layers were narrowed in place.

    Raises:
        InputError: If the detector's class chooses its own parts, or layers were narrowed that no description tells of.
    """
    if type(detector) not in (Detector, PrunedDetector):
        raise InputError(
            f"the network is a {type(detector).__name__}, which makes its parts itself: give its backbone, neck and "
            "head to a yolo_lightning.models.Detector, and prune that"
        )
    description = describe(detector)
    arguments = {name: value for name, value in description["init_args"].items() if name != "channels"}
    full = build_detector({"class_path": "yolo_lightning.models.Detector", "init_args": arguments}, pruned.num_classes)
    whole, left = _shapes(full), _shapes(pruned)
    layers, narrowed = dict(full.named_modules()), dict(pruned.named_modules())
    channels: dict[str, list[int | None]] = {}
    for name in (name for name in left if left[name] != whole[name]):
        if not is_narrowable(layers[name]):
            raise InputError(f"{name}, a {type(layers[name]).__name__}, cannot be narrowed")
        widths = zip(_widths(layers[name]), _widths(narrowed[name]), strict=True)
        # Those that pruning left alone may change otherwise: outputs of the head with the number of classes.
        channels[name] = [now if now != then else None for then, now in widths]
    return {"class_path": _CLASS_PATH, "init_args": {**arguments, "channels": channels}}


def pruned_description(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The description in a file of weights, if it is that of a pruned network."""
    description = checkpoint.description or {}
    is_pruned = description.get("class_path") == _CLASS_PATH and isinstance(description.get("init_args"), Mapping)
    return description if is_pruned else None


def is_narrowable(module: nn.Module) -> bool:
    """Whether a layer can have fewer channels than it was made with."""
    return isinstance(module, nn.Linear | _BatchNorm) or (
        isinstance(module, nn.Conv2d)
        and (module.groups == 1 or module.groups == module.in_channels == module.out_channels)
    )


def _narrow(module: nn.Module, name: str, widths: object) -> None:
    """Leaves the first channels of a layer, in place."""
    if not is_narrowable(module):
        raise ValueError(f"channels: {name} is a {type(module).__name__}, which cannot be narrowed")
    full = _widths(module)
    if not (
        isinstance(widths, Sequence)
        and len(widths) == len(full)
        and all(
            width is None or (type(width) is int and 0 < width <= most)
            for width, most in zip(widths, full, strict=True)
        )
    ):
        raise ValueError(f"channels: {name} is of {full} channels, of which {widths!r} cannot be left")
    left = [most if width is None else width for width, most in zip(widths, full, strict=True)]
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            module.groups = left[0]
        module.in_channels, module.out_channels = left
        _cut(module, weight=(left[1], left[0] // module.groups), bias=left[1:])
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = left
        _cut(module, weight=(left[1], left[0]), bias=left[1:])
    elif isinstance(module, _BatchNorm):
        module.num_features = left[0]
        _cut(module, weight=left, bias=left, running_mean=left, running_var=left)


def _widths(module: nn.Module) -> list[int]:
    """Channels of a layer that can be narrowed: of input and output, or of both together."""
    if isinstance(module, nn.Conv2d):
        return [module.in_channels, module.out_channels]
    if isinstance(module, nn.Linear):
        return [module.in_features, module.out_features]
    assert isinstance(module, _BatchNorm)
    return [module.num_features]


def _cut(module: nn.Module, **shapes: Sequence[int]) -> None:
    """Leaves the first entries of each dimension of tensors."""
    for name, shape in shapes.items():
        tensor = getattr(module, name)
        if tensor is not None:
            kept = tensor.detach()[tuple(slice(size) for size in shape)].clone()
            setattr(module, name, nn.Parameter(kept) if isinstance(tensor, nn.Parameter) else kept)


def _shapes(detector: Detector) -> dict[str, list[torch.Size]]:
    """Shapes of the tensors that each module has itself."""
    return {
        name: [tensor.shape for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))]
        for name, module in detector.named_modules()
    }


def _with_channels(features: FeatureInfo, maps: tuple[Tensor, ...]) -> FeatureInfo:
    return replace(features, channels=tuple(x.shape[1] for x in maps))
