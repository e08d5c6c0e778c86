"""Image to feature maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from yolo_lightning.models.layers import C3, SPPF, Conv, scale_channels, scale_repeats
from yolo_lightning.models.part import Part
from yolo_lightning.types import FeatureInfo

__all__ = ["Backbone", "CSPDarknet"]


class Backbone(Part, ABC):
    """Turns images into feature maps of several strides. Subclass it to try a network of your own.

    Attributes:
        features: Channels and strides of the maps, fine to coarse.
    """

    features: FeatureInfo

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of images (B, C, H, W), one (B, channels, H / stride, W / stride) for each level of ``features``."""


class CSPDarknet(Backbone):
    """YOLOv5's backbone: a stem, stages of one strided convolution and one C3 block, pooling at the end.

    Args:
        depth_multiple: Factor on the number of bottlenecks in a stage: .33 (n, s), .67 (m), 1 (l), 1.33 (x).
        width_multiple: Factor on the number of channels: .25 (n), .5 (s), .75 (m), 1 (l), 1.25 (x).
        in_channels: Channels of the images.
        levels: "P5" gives maps of strides 8, 16 and 32; "P6" one more, of stride 64, for images of about 1280 pixels.

    Raises:
        ValueError: If ``levels`` is neither.
    """

    def __init__(
        self,
        depth_multiple: float = 0.33,
        width_multiple: float = 0.5,
        in_channels: int = 3,
        levels: Literal["P5", "P6"] = "P5",
    ) -> None:
        super().__init__()
        if levels not in ("P5", "P6"):
            raise ValueError(f'levels must be "P5" or "P6", not {levels!r}')
        widths = (64, 128, 256, 512, 1024) if levels == "P5" else (64, 128, 256, 512, 768, 1024)
        repeats = (3, 6, 9, *(3 for _ in widths[4:]))
        channels = [scale_channels(width, width_multiple) for width in widths]
        blocks = [scale_repeats(number, depth_multiple) for number in repeats]
        self.features = FeatureInfo(tuple(channels[2:]), tuple(2 ** (level + 3) for level in range(len(widths) - 2)))
        self.stem = Conv(in_channels, channels[0], kernel_size=6, stride=2, padding=2)
        self.stages = nn.ModuleList(
            nn.Sequential(Conv(narrow, wide, kernel_size=3, stride=2), C3(wide, wide, num_blocks))
            for narrow, wide, num_blocks in zip(channels, channels[1:], blocks, strict=False)
        )
        self.sppf = SPPF(channels[-1], channels[-1])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of images (B, in_channels, H, W) at strides 8, 16, 32 and, with P6, 64."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        maps[-1] = self.sppf(x)
        return tuple(maps[1:])

    def official_layers(self) -> dict[int, nn.Module]:
        """Layers 0…9 (P5) or 0…11 (P6) of published files."""
        blocks = [self.stem, *(block for stage in self.stages for block in stage.children()), self.sppf]
        return dict(enumerate(blocks))
