"""Test-time augmentation: the same images at several sizes and mirrored, and the predictions of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from yolo_lightning.models.detector import Detector

__all__ = ["Flip", "TestTimeAugmentation"]

Flip = Literal["none", "horizontal", "vertical"]

_PADDING = 0.447  # the mean of ImageNet, as YOLOv5 pads


class TestTimeAugmentation:
    """Looks at images several times: at several sizes, some of them mirrored, as YOLOv5 does.

    A view that is shrunk finds large objects better. So where views differ in scale, those of the largest leave out the
    predictions of the coarsest level, and those of the smallest leave out the predictions of the finest one.

    Args:
        scales: Size of each view relative to the images.
        flips: How each view is mirrored: ``none``, ``horizontal`` (left and right change places) or ``vertical``.
        clip_tails: Leave out the levels that suit a view's scale least.

    Raises:
        ValueError: If there is no view, the two differ in length, a scale is not positive, or a flip is unknown.
    """

    def __init__(
        self,
        scales: Sequence[float] = (1.0, 0.83, 0.67),
        flips: Sequence[Flip] = ("none", "horizontal", "none"),
        clip_tails: bool = True,
    ) -> None:
        if not scales or len(scales) != len(flips):
            raise ValueError(f"scales and flips need one entry for each view, found {list(scales)} and {list(flips)}")
        if not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales must be positive, found {list(scales)}")
        if unknown := [flip for flip in flips if flip not in get_args(Flip)]:
            raise ValueError(f"flips can be {', '.join(get_args(Flip))}, not {unknown[0]!r}")
        self.scales = tuple(scales)
        self.flips = tuple(flips)
        self.clip_tails = clip_tails

    def __call__(
        self, detector: Detector, images: Tensor, raw: tuple[Tensor, ...] | None = None, whole: bool = False
    ) -> list[tuple[Tensor, Tensor]]:
        """Decoded predictions of every view.

        Args:
            detector: The network.
            images: (B, 3, H, W) RGB, floating point in 0…1; sides are multiples of the network's stride.
            raw: The network's raw predictions of these images, if they are there already.
            whole: Leave out no level, whatever ``clip_tails`` says.

        Returns:
            For each view boxes (B, N, 4) xyxy in pixels of ``images`` and scores (B, N, C).

        Raises:
            ValueError: If levels are to be left out, and the network's boxes do not come level by level.
        """
        views = []
        for scale, flip in zip(self.scales, self.flips, strict=True):
            unchanged = scale == 1 and flip == "none"
            view = raw if unchanged and raw is not None else detector(_resize(_mirror(images, flip), scale, detector))
            boxes, scores = detector.decode(view)
            kept = slice(None) if whole else self._kept_rows(scale, view, boxes.shape[1])
            views.append((_restore(boxes[:, kept], scale, flip, images), scores[:, kept]))
        return views

    def _kept_rows(self, scale: float, raw: tuple[Tensor, ...], num_rows: int) -> slice:
        """Rows of a view that count."""
        largest, smallest = max(self.scales), min(self.scales)
        if not self.clip_tails or largest == smallest or smallest < scale < largest:
            return slice(None)
        rows = [level.shape[1:4].numel() for level in raw]
        if sum(rows) != num_rows:
            raise ValueError(
                f"cannot tell which of the {num_rows} boxes belong to which level: use clip_tails=False with this head"
            )
        return slice(None, num_rows - rows[-1]) if scale == largest else slice(rows[0], None)


def _mirror(images: Tensor, flip: Flip) -> Tensor:
    return images if flip == "none" else images.flip(-1 if flip == "horizontal" else -2)


def _resize(images: Tensor, scale: float, detector: Detector) -> Tensor:
    """Images at another size, padded at the right and at the bottom to multiples of the stride."""
    if scale == 1:
        return images
    height, width = (side * scale for side in images.shape[-2:])
    resized = functional.interpolate(images, (int(height), int(width)), mode="bilinear", align_corners=False)
    stride = detector.strides[-1]
    right, bottom = (math.ceil(side / stride) * stride - int(side) for side in (width, height))
    return functional.pad(resized, (0, right, 0, bottom), value=_PADDING)


def _restore(boxes: Tensor, scale: float, flip: Flip, images: Tensor) -> Tensor:
    """Boxes of a view in pixels of the images."""
    left, top, right, bottom = (boxes if scale == 1 else boxes / scale).unbind(-1)
    height, width = images.shape[-2:]
    if flip == "horizontal":
        left, right = width - right, width - left
    elif flip == "vertical":
        top, bottom = height - bottom, height - top
    return torch.stack((left, top, right, bottom), dim=-1)
