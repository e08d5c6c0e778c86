"""Feature maps to raw predictions, and raw predictions to boxes.

Shape suffixes: B images, A anchors of a level, H × W cells, K = 5 + C values (x, y, w, h, objectness, C classes).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from yolo_lightning.models.part import Part
from yolo_lightning.types import FeatureInfo

__all__ = ["ANCHORS_P5", "ANCHORS_P6", "Head", "YOLOv5Head"]

ANCHORS_P5 = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
ANCHORS_P6 = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)

Anchors = Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]


class Head(Part, ABC):
    """Predicts boxes from feature maps.

    A subclass takes the ``FeatureInfo`` of its input and the number of classes as its first two arguments.

    Attributes:
        num_classes: Number of classes C.
        strides: Pixels per cell of each level, fine to coarse.
        anchors: (levels, A, 2) width and height of the anchors in pixels.
    """

    num_classes: int
    strides: tuple[int, ...]
    anchors: Tensor

    @abstractmethod
    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Raw logits of each level, (B, A, H, W, 5 + C); the same in training and evaluation."""

    @abstractmethod
    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) xyxy in pixels and scores (B, N, C) in 0…1 of raw logits, at least float32."""

    def decode_above(self, raw: tuple[Tensor, ...], threshold: float) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`; may leave out boxes that score no more than the threshold in all images of the batch."""
        return self.decode(raw)

    def rows(self, maps: tuple[Tensor, ...]) -> Tensor:
        """What exported networks answer to feature maps, in place of ``forward`` and ``decode``; at least float32.

        (B, N, 5 + C) in the order of :meth:`decode`: centre, width and height in pixels, objectness, classes. The score
        of a class is objectness times its probability; a head without objectness has 1 there.
        """
        boxes, scores = self.decode(self(maps))
        lower, upper = boxes[..., :2], boxes[..., 2:]
        return torch.cat(((lower + upper) / 2, upper - lower, torch.ones_like(scores[..., :1]), scores), dim=-1)


class YOLOv5Head(Head):
    """Anchor-based head of YOLOv5: one 1×1 convolution for each level.

    With t the raw values, s their sigmoid, c the cell, S the stride and a the anchor in pixels, a box has centre
    ``(2 s_xy + c - 0.5) S`` and size ``(2 s_wh)² a``; its scores are objectness times class probability.

    Args:
        features: Channels and strides of the input, fine to coarse.
        num_classes: Number of classes.
        anchors: Width and height of the anchors of each level in pixels, flat ``[[10, 13, 16, 30, …], …]`` or in pairs
            ``[[[10, 13], [16, 30], …], …]``. None takes those published for three (P5) or four (P6) levels.

    Attributes:
        has_own_anchors: Whether anchors were given; ``load_weights`` leaves these as they are.

    Raises:
        ValueError: If the anchors do not fit the levels, or the number of classes is not positive.
    """

    def __init__(self, features: FeatureInfo, num_classes: int, anchors: Anchors | None = None) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.num_classes = num_classes
        self.strides = features.strides
        self.has_own_anchors = anchors is not None
        self.anchors: Tensor
        self.register_buffer("anchors", _anchor_tensor(anchors, num_levels=len(features.strides)))
        self._constructed_anchors = _plain(self.anchors)
        num_outputs = self.anchors.shape[1] * (5 + num_classes)
        self.m = nn.ModuleList(nn.Conv2d(channels, num_outputs, kernel_size=1) for channels in features.channels)
        self._initialize_biases()

    @torch.no_grad()
    def set_anchors(self, anchors: Anchors) -> None:
        """Replaces the anchors.

        Args:
            anchors: As in the constructor, as many for each level as there are now.

        Raises:
            ValueError: If they do not fit the levels, or their number is another.
        """
        tensor = _anchor_tensor(anchors, num_levels=len(self.strides))
        if tensor.shape != self.anchors.shape:
            raise ValueError(f"the head has {self.anchors.shape[1]} anchors a level, not {tensor.shape[1]}")
        self.anchors.copy_(tensor)
        self.has_own_anchors = True

    def constructor_arguments(self) -> dict[str, Any]:
        """Arguments of the constructor by name; ``anchors`` are those of now, wherever they came from."""
        arguments = super().constructor_arguments()
        if "anchors" in arguments and _plain(self.anchors) != self._constructed_anchors:
            arguments["anchors"] = _plain(self.anchors)
        return arguments

    @torch.no_grad()
    def _initialize_biases(self) -> None:
        """Starts with few objects: about 8 in a 640-pixel image on each level, and rare classes."""
        for conv, stride in zip(self.m, self.strides, strict=True):
            bias = conv.bias.view(self.anchors.shape[1], -1)  # type: ignore[operator]
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.num_classes - 0.99999))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Keeps anchors exact: half precision would move large ones by a pixel."""
        exact = self.anchors
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.anchors.dtype in (torch.float16, torch.bfloat16):
            self.anchors = exact.to(self.anchors.device)
        return self

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Raw logits of each level, (B, A, H, W, 5 + C); the same in training and evaluation."""
        num_anchors = self.anchors.shape[1]
        # Views: the convolution's output is not copied.
        return tuple(
            conv(x).unflatten(1, (num_anchors, -1)).permute(0, 1, 3, 4, 2) for conv, x in zip(self.m, maps, strict=True)
        )

    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) xyxy in pixels and scores (B, N, C); N runs over level, anchor, row, column.

        Computed in float32 at least, whatever the network ran in.
        """
        levels = [_decode_level(*level) for level in zip(raw, self.anchors, self.strides, strict=True)]
        boxes, scores = zip(*levels, strict=True)
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def decode_above(self, raw: tuple[Tensor, ...], threshold: float) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`, without most of the boxes that score no more than the threshold in all images.

        A score is at most its objectness; of most boxes no more than that is computed.
        """
        if type(self).decode is not YOLOv5Head.decode:
            return self.decode(raw)
        levels = [_decode_level_above(*level, threshold) for level in zip(raw, self.anchors, self.strides, strict=True)]
        boxes, scores = zip(*levels, strict=True)
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def rows(self, maps: tuple[Tensor, ...]) -> Tensor:
        """(B, N, 5 + C): centre, width and height in pixels, objectness, and the probabilities of the classes."""
        if type(self).decode is not YOLOv5Head.decode or type(self).forward is not YOLOv5Head.forward:
            return super().rows(maps)
        levels = zip(self.m, maps, self.anchors, self.strides, strict=True)
        return torch.cat([_rows_of_level(conv(x), anchors, stride) for conv, x, anchors, stride in levels], 1)

    def official_layers(self) -> dict[int, nn.Module]:
        """The last layer of published files: 24 with three levels, 33 with four."""
        return {9 * len(self.strides) - 3: self}


def _decode_level(raw_BAHWK: Tensor, anchors_A2: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Boxes (B, A·H·W, 4) and scores (B, A·H·W, C) of one level."""
    height, width = raw_BAHWK.shape[2:4]
    dtype = torch.promote_types(raw_BAHWK.dtype, torch.float32)
    probability = raw_BAHWK.to(dtype).contiguous().sigmoid()  # one copy here saves strided ones below
    cells = torch.stack(_cells(height, width, raw_BAHWK.device, dtype), dim=-1)
    centers = (probability[..., :2] * 2 + (cells - 0.5)) * stride
    sizes = (probability[..., 2:4] * 2).square() * anchors_A2.to(dtype)[:, None, None]
    boxes = torch.cat((centers - sizes / 2, centers + sizes / 2), dim=-1)
    scores = probability[..., 5:] * probability[..., 4:5]
    return boxes.flatten(1, 3), scores.flatten(1, 3)


def _rows_of_level(raw_BLHW: Tensor, anchors_A2: Tensor, stride: int) -> Tensor:
    """Rows (B, A·H·W, K) of what the convolution of a level answers, L = A·K.

    In an order that runtimes are quick with: the sigmoid belongs to the convolution, and large blocks are copied.
    """
    height, width = raw_BLHW.shape[2:]
    dtype = torch.promote_types(raw_BLHW.dtype, torch.float32)
    probability_BLHW = raw_BLHW.to(dtype).sigmoid()
    probability_BAKHW = probability_BLHW.unflatten(1, (len(anchors_A2), -1))  # type: ignore[no-untyped-call]
    cells = torch.stack(_cells(height, width, raw_BLHW.device, dtype))
    centers = (probability_BAKHW[:, :, :2] * 2 + (cells - 0.5)) * stride
    sizes = (probability_BAKHW[:, :, 2:4] * 2).square() * anchors_A2.to(dtype)[..., None, None]
    rows_BAKHW = torch.cat((centers, sizes, probability_BAKHW[:, :, 4:]), dim=2)
    return rows_BAKHW.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _cells(height: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Column and row of each cell, (H, W) both."""
    rows = torch.arange(height, device=device, dtype=dtype)
    columns = torch.arange(width, device=device, dtype=dtype)
    grid_x, grid_y = torch.meshgrid(columns, rows, indexing="xy")
    return grid_x, grid_y


def _decode_level_above(raw_BAHWK: Tensor, anchors_A2: Tensor, stride: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Boxes (B, n, 4) and scores (B, n, C) of the n boxes of a level that may score more, in the order of all."""
    dtype = torch.promote_types(raw_BAHWK.dtype, torch.float32)
    objectness = raw_BAHWK[..., 4].to(dtype).sigmoid()
    anchor, row, column = (objectness > threshold * (1 - 1e-6)).any(0).nonzero(as_tuple=True)
    probability = raw_BAHWK[:, anchor, row, column].to(dtype).sigmoid()
    cells = torch.stack((column, row), dim=-1).to(dtype)
    centers = (probability[..., :2] * 2 + (cells - 0.5)) * stride
    half_sizes = (probability[..., 2:4] * 2).square() * (anchors_A2.to(dtype)[anchor] / 2)
    boxes = torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)
    return boxes, probability[..., 5:] * probability[..., 4:5]


def _anchor_tensor(anchors: Anchors | None, num_levels: int) -> Tensor:
    """Anchors as (levels, A, 2) float32."""
    if anchors is None:
        published: dict[int, Anchors] = {3: ANCHORS_P5, 4: ANCHORS_P6}
        if num_levels not in published:
            raise ValueError(f"no anchors are published for {num_levels} levels: give the head its anchors")
        anchors = published[num_levels]
    try:
        flat = [torch.as_tensor(level, dtype=torch.float32).flatten() for level in anchors]
        tensor = torch.stack(flat).reshape(len(flat), -1, 2)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"anchors must be equally many width, height pairs for each level, not {anchors}") from error
    if len(tensor) != num_levels or tensor.shape[1] == 0 or (not tensor.is_meta and not bool((tensor > 0).all())):
        raise ValueError(f"anchors must be positive and given for each of the {num_levels} levels, not {anchors}")
    return tensor


def _plain(anchors: Tensor) -> list[list[float]] | None:
    """Anchors of each level, flat, in the fewest digits that give the same float32: 12.35, not 12.350000381."""
    if anchors.is_meta:
        return None
    return [[float(str(value)) for value in level] for level in anchors.detach().float().flatten(1).cpu().numpy()]
