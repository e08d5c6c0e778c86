"""Feature maps to feature maps that have seen each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from yolo_lightning.models.layers import C3, Conv, scale_repeats
from yolo_lightning.models.part import Part
from yolo_lightning.types import FeatureInfo

__all__ = ["PAFPN", "Neck"]


class Neck(Part, ABC):
    """Mixes the maps of a backbone. A subclass takes the ``FeatureInfo`` of its input as first argument.

    Attributes:
        features: Channels and strides of the maps it gives, fine to coarse.
    """

    features: FeatureInfo

    @abstractmethod
    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Mixes maps (B, channels, H / stride, W / stride), fine to coarse."""


class PAFPN(Neck):
    """Path-aggregation feature pyramid of C3 blocks (https://arxiv.org/abs/1803.01534): top-down, then bottom-up.

    Its maps have the channels and strides of its input.

    Args:
        features: Channels and strides of the input, fine to coarse; strides double from level to level.
        depth_multiple: Factor on the number of bottlenecks, as in the backbone.

    Raises:
        ValueError: If there are fewer than two levels, or strides do not double.
    """

    def __init__(self, features: FeatureInfo, depth_multiple: float = 0.33) -> None:
        super().__init__()
        strides = features.strides
        if len(strides) < 2 or any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise ValueError(f"PAFPN needs at least two levels whose strides double, not strides {strides}")
        self.features = features
        num_blocks = scale_repeats(3, depth_multiple)
        steps = list(pairwise(features.channels))
        # Top-down modules are ordered coarse to fine, bottom-up ones fine to coarse: as they run.
        self.reduce = nn.ModuleList(Conv(wide, narrow) for narrow, wide in reversed(steps))
        self.top_down = nn.ModuleList(
            C3(2 * narrow, narrow, num_blocks, shortcut=False) for narrow, _ in reversed(steps)
        )
        self.downsample = nn.ModuleList(Conv(narrow, narrow, kernel_size=3, stride=2) for narrow, _ in steps)
        self.bottom_up = nn.ModuleList(C3(2 * narrow, wide, num_blocks, shortcut=False) for narrow, wide in steps)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Mixes maps (B, channels, H / stride, W / stride), fine to coarse."""
        *finer, x = maps
        reduced = []
        for reduce, block, fine in zip(self.reduce, self.top_down, reversed(finer), strict=True):
            reduced.append(reduce(x))
            upsampled = functional.interpolate(reduced[-1], scale_factor=2.0, mode="nearest")
            x = block(torch.cat((upsampled, fine), 1))
        outputs = [x]
        for downsample, block, lateral in zip(self.downsample, self.bottom_up, reversed(reduced), strict=True):
            outputs.append(block(torch.cat((downsample(outputs[-1]), lateral), 1)))
        return tuple(outputs)

    def official_layers(self) -> dict[int, nn.Module]:
        """Layers 10…23 (three levels) or 12…32 (four) of published files, in which upsampling has a number too."""
        num_steps = len(self.reduce)
        top_down = 2 * num_steps + 6  # the backbone's layers come before
        bottom_up = top_down + 4 * num_steps
        layers: dict[int, nn.Module] = {}
        for step in range(num_steps):
            layers[top_down + 4 * step] = self.reduce[step]
            layers[top_down + 4 * step + 3] = self.top_down[step]
        for step in range(num_steps):
            layers[bottom_up + 3 * step] = self.downsample[step]
            layers[bottom_up + 3 * step + 2] = self.bottom_up[step]
        return layers
