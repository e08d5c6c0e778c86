"""Backbone, neck and head as one network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Self

from torch import Tensor

from yolo_lightning.models.backbone import Backbone, CSPDarknet
from yolo_lightning.models.head import Head, YOLOv5Head
from yolo_lightning.models.layers import Conv
from yolo_lightning.models.neck import PAFPN, Neck
from yolo_lightning.models.part import Part
from yolo_lightning.types import FeatureInfo

__all__ = ["SIZES", "Detector", "yolov5"]

SIZES: dict[str, tuple[float, float]] = {
    "n": (0.33, 0.25),
    "s": (0.33, 0.50),
    "m": (0.67, 0.75),
    "l": (1.0, 1.0),
    "x": (1.33, 1.25),
}
"""Depth and width multiple of each published size; a ``6`` after the letter adds the level P6."""


class Detector(Part):
    """A network from images to raw predictions: YOLOv5s unless told otherwise.

    Each part is given as a class, or anything that makes one: the detector calls ``backbone()``, ``neck(features)`` and
    ``head(features, num_classes)``.

    Args:
        num_classes: Number of classes.
        backbone: Makes the backbone.
        neck: Makes the neck from the backbone's features.
        head: Makes the head from the neck's features and the number of classes.
    """

    def __init__(
        self,
        num_classes: int = 80,
        backbone: Callable[[], Backbone] = CSPDarknet,
        neck: Callable[[FeatureInfo], Neck] = PAFPN,
        head: Callable[[FeatureInfo, int], Head] = YOLOv5Head,
    ) -> None:
        super().__init__()
        self.backbone = backbone()
        self.neck = neck(self.backbone.features)
        self.head = head(self.neck.features, num_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.head.num_classes

    @property
    def in_channels(self) -> int:
        """Channels of the images: those of the first convolution."""
        return next(parameter.shape[1] for parameter in self.backbone.parameters() if parameter.ndim == 4)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, fine to coarse; image sides must be multiples of the last."""
        return self.head.strides

    @property
    def features(self) -> FeatureInfo:
        """Channels and strides of the maps that the head sees."""
        return self.neck.features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Raw logits of each level.

        Args:
            images: (B, 3, H, W) RGB, floating point in 0…1.

        Returns:
            One tensor (B, A, H / stride, W / stride, 5 + C) for each level, the same in training and evaluation.

        Raises:
            ValueError: If a side of the images is not a multiple of the coarsest stride.
        """
        height, width = images.shape[-2:]
        stride = self.strides[-1]
        if height % stride or width % stride:
            raise ValueError(f"image size {height}×{width} must be a multiple of the network's stride {stride}")
        raw: tuple[Tensor, ...] = self.head(self.neck(self.backbone(images)))
        return raw

    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) xyxy in pixels and scores (B, N, C) of raw logits."""
        return self.head.decode(raw)

    def decode_above(self, raw: tuple[Tensor, ...], threshold: float) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`; may leave out boxes that score no more than the threshold in all images of the batch."""
        return self.head.decode_above(raw, threshold) if type(self).decode is Detector.decode else self.decode(raw)

    def fuse(self) -> Self:
        """A copy in evaluation mode with batch normalisation folded into the convolutions: faster, not for training."""
        fused = copy.deepcopy(self).eval()
        for module in fused.modules():
            if isinstance(module, Conv):
                module.fuse()
        return fused


def yolov5(size: str, num_classes: int = 80, in_channels: int = 3) -> Detector:
    """A YOLOv5 of a published size, with fresh weights.

    Args:
        size: One of n, s, m, l, x (640 pixels, strides to 32) or n6, s6, m6, l6, x6 (1280 pixels, strides to 64).
        num_classes: Number of classes.
        in_channels: Channels of the images.

    Raises:
        ValueError: If the size is unknown.
    """
    letter = size.removesuffix("6")
    if letter not in SIZES:
        known = ", ".join([*SIZES, *(f"{name}6" for name in SIZES)])
        raise ValueError(f"unknown YOLOv5 size {size!r}: choose one of {known}")
    depth, width = SIZES[letter]
    return Detector(
        num_classes,
        backbone=partial(CSPDarknet, depth, width, in_channels, "P6" if size.endswith("6") else "P5"),
        neck=partial(PAFPN, depth_multiple=depth),
    )
