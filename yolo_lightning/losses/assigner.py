"""Target assignment: which cells of which level are to predict which box.

Shape letters: L levels · A anchors of a level · N boxes of the batch · P positives of a level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolo_lightning.ops import xyxy_to_cxcywh
from yolo_lightning.types import Batch

__all__ = ["AnchorRatioAssigner", "Assigner", "Assignment"]


@dataclass(frozen=True)
class Assignment:
    """The positives of one level: predictions that are to match a box. A prediction may be listed more than once.

    Args:
        image: (P,) int64 position in the batch.
        anchor: (P,) int64 anchor of the level.
        row: (P,) int64 row of the cell.
        column: (P,) int64 column of the cell.
        boxes_cxcywh: (P, 4) target boxes in units of cells, the centre measured from the cell's top left corner.
        labels: (P,) int64 target classes.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes_cxcywh: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def index(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Index of the positives into predictions shaped (B, A, H, W, ...)."""
        return self.image, self.anchor, self.row, self.column


class Assigner(nn.Module, ABC):
    """Base of target assigners: subclass it and name the subclass as ``assigner`` of the loss."""

    @abstractmethod
    def forward(self, raw: Sequence[Tensor], batch: Batch, anchors: Tensor, strides: Sequence[int]) -> list[Assignment]:
        """Chooses the positives of every level.

        Args:
            raw: Predictions of each level, (B, A, H, W, 5 + C) logits: x, y, w, h, objectness, classes.
            batch: The labelled images.
            anchors: (L, A, 2) widths and heights in pixels.
            strides: Pixels per cell of each level.

        Returns:
            One assignment for each level. Where a prediction is listed twice, its objectness target is the later's.
        """


class AnchorRatioAssigner(Assigner):
    """Assigns a box to every anchor of similar shape, in the cell of its centre and the two nearest neighbours.

    The rule of YOLOv5, to the letter: every level and anchor is tried on its own, so that one box may have many
    positives or none. A neighbour counts if the centre is less than half a cell away from it; a centre exactly on the
    border of two cells lists its own cell twice; a centre exactly in the middle of a cell has no neighbours.

    Args:
        ratio_threshold: Width and height of box and anchor may differ by less than this factor, above 1.

    Raises:
        ValueError: If the threshold is not above 1.
    """

    steps: Tensor

    def __init__(self, ratio_threshold: float = 4.0) -> None:
        super().__init__()
        if not ratio_threshold > 1:
            raise ValueError(f"ratio_threshold is {ratio_threshold}; a factor between box and anchor is above 1")
        self.ratio_threshold = ratio_threshold
        # From the centre half a cell: nowhere, left, up, right, down.
        steps = torch.tensor([[0.0, 0.0], [-0.5, 0.0], [0.0, -0.5], [0.5, 0.0], [0.0, 0.5]])
        self.register_buffer("steps", steps, persistent=False)

    @torch.no_grad()
    def forward(self, raw: Sequence[Tensor], batch: Batch, anchors: Tensor, strides: Sequence[int]) -> list[Assignment]:
        """Chooses the positives of every level; of the predictions only shape and dtype matter.

        Args:
            raw: Predictions of each level, (B, A, H, W, 5 + C).
            batch: The labelled images.
            anchors: (L, A, 2) widths and heights in pixels.
            strides: Pixels per cell of each level.

        Returns:
            One assignment for each level, ordered by step (none, left, up, right, down), anchor, box.
        """
        dtype = torch.promote_types(raw[0].dtype, torch.float32)
        stride_L11 = anchors.new_tensor(strides).to(dtype)[:, None, None]
        grid_L12 = stride_L11.new_tensor([[level.shape[3], level.shape[2]] for level in raw])[:, None]
        boxes_LN4 = _boxes_cxcywh(batch.boxes, dtype) / stride_L11
        centre_LN2, size_LN2 = boxes_LN4.tensor_split(2, dim=-1)

        fits_LAN = self._fits(size_LN2, anchors.to(dtype) / stride_L11)
        near_L5N = self._near(centre_LN2, grid_L12)
        mask_L5AN = near_L5N[:, :, None] & fits_LAN[:, None]
        level, step, anchor, box = mask_L5AN.nonzero(as_tuple=True)

        centre = centre_LN2[level, box]
        cell = (centre + self.steps.to(dtype)[step]).long().clamp(min=0)
        cell = torch.minimum(cell, grid_L12[level, 0].long() - 1)
        boxes_cxcywh = torch.cat((centre - cell, size_LN2[level, box]), dim=-1)
        parts = (batch.image_index[box], anchor, cell[:, 1], cell[:, 0], boxes_cxcywh, batch.labels[box])
        counts = torch.bincount(level, minlength=len(raw)).tolist()
        return [Assignment(*columns) for columns in zip(*(torch.split(part, counts) for part in parts), strict=True)]

    def _fits(self, size_LN2: Tensor, anchor_LA2: Tensor) -> Tensor:
        """Whether box and anchor are of similar width and height, (L, A, N)."""
        ratio = size_LN2.clamp(min=0)[:, None] / anchor_LA2[:, :, None]
        return torch.maximum(ratio, 1 / ratio).amax(-1) < self.ratio_threshold

    def _near(self, centre_LN2: Tensor, grid_L12: Tensor) -> Tensor:
        """Whether the cell of a centre (always), left of it, above, right, below takes the box too, (L, 5, N)."""
        to_end = grid_L12 - centre_LN2
        left, up = ((centre_LN2 % 1 < 0.5) & (centre_LN2 > 1)).unbind(-1)
        right, down = ((to_end % 1 < 0.5) & (to_end > 1)).unbind(-1)
        return torch.stack((torch.ones_like(left), left, up, right, down), dim=1)


def _boxes_cxcywh(boxes: Tensor, dtype: torch.dtype) -> Tensor:
    """Centre and size in pixels; computed in the dtype of the boxes, so that float64 labels keep exact borders."""
    return xyxy_to_cxcywh(boxes).to(dtype)
