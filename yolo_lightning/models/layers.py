"""Building blocks of YOLOv5.

Attribute names (``cv1``, ``bn``, ``m``, …) are those of the tensors in published YOLOv5 files, so that names of ours
and theirs differ in nothing but the number of the layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["C3", "SPPF", "Bottleneck", "Conv", "scale_channels", "scale_repeats"]

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.03


def scale_channels(channels: int, width_multiple: float, divisor: int = 8) -> int:
    """Channels times the width multiple, rounded up to a multiple of ``divisor``."""
    return math.ceil(channels * width_multiple / divisor) * divisor


def scale_repeats(repeats: int, depth_multiple: float) -> int:
    """Repeats times the depth multiple, rounded half to even, at least 1."""
    return max(round(repeats * depth_multiple), 1)


class Conv(nn.Module):
    """Convolution without bias, batch normalisation, SiLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel.
        stride: Stride.
        padding: Padding on each side; None keeps the size at stride 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
        self.act = nn.SiLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H / stride, W / stride)."""
        out: Tensor = self.act(self.bn(self.conv(images)))
        return out

    def fuse(self) -> None:
        """Folds the normalisation into the convolution, in place; for evaluation only. Does nothing the second time."""
        if isinstance(self.bn, _BatchNorm):  # synchronised ones are no BatchNorm2d
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """1×1 then 3×3 convolution of equal width, with an optional residual connection.

    Args:
        channels: Channels of input and output.
        shortcut: Whether to add the input to the output.
    """

    def __init__(self, channels: int, shortcut: bool = True) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape (B, C, H, W)."""
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.shortcut else out


class C3(nn.Module):
    """Cross-stage partial block with three convolutions (https://arxiv.org/abs/1911.11929).

    Half of the width goes through the bottlenecks, half around them.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_blocks: Number of bottlenecks.
        shortcut: Whether the bottlenecks are residual.
    """

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(in_channels, hidden)
        self.cv3 = Conv(2 * hidden, out_channels)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(num_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H, W)."""
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


class SPPF(nn.Module):
    """Spatial pyramid pooling by three chained poolings; the same as parallel ones of 5, 9 and 13.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of one pooling window.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(4 * hidden, out_channels)
        self.m = nn.MaxPool2d(kernel_size, stride=1, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H, W)."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        out: Tensor = self.cv2(torch.cat(maps, 1))
        return out
