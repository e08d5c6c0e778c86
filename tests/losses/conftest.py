"""Labels and heads that the tests of the losses share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from yolo_lightning.types import Batch, ImageInfo

P5_ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


@dataclass
class FakeHead:
    """The part of a head that the loss reads."""

    num_classes: int = 3
    strides: tuple[int, ...] = (8, 16, 32)
    anchors: Tensor = field(default_factory=lambda: torch.tensor(P5_ANCHORS))

    def raw(self, batch_size: int = 2, size: tuple[int, int] = (64, 96), seed: int = 0) -> tuple[Tensor, ...]:
        """Random logits for images of ``size``."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randn(
                batch_size, 3, size[0] // stride, size[1] // stride, 5 + self.num_classes, generator=generator
            ).requires_grad_()
            for stride in self.strides
        )


def make_batch(
    boxes: Sequence[Sequence[float]] | Tensor,
    labels: Sequence[int] | None = None,
    image_index: Sequence[int] | None = None,
    batch_size: int = 2,
    size: tuple[int, int] = (64, 96),
) -> Batch:
    """A batch of black images with these boxes."""
    boxes = torch.as_tensor(boxes)
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    boxes = boxes.reshape(-1, 4)
    count = len(boxes)
    return Batch(
        images=torch.zeros(batch_size, 3, *size),
        boxes=boxes,
        labels=torch.tensor([0] * count if labels is None else labels, dtype=torch.int64),
        image_index=torch.tensor([0] * count if image_index is None else image_index, dtype=torch.int64),
        infos=[ImageInfo(str(i), i, size) for i in range(batch_size)],
    )


def batch_of_rows(targets: np.ndarray, batch_size: int, size: int) -> Batch:
    """A batch of rows (image, class, x, y, w, h), the box normalised.

    Corners are kept in float64, where they hold the float32 centres and sizes without rounding.
    """
    rows = torch.from_numpy(targets)
    centre, extent = (rows[:, 2:4] * size).double(), (rows[:, 4:6] * size).double()
    boxes = torch.cat((centre - extent / 2, centre + extent / 2), dim=1)
    return make_batch(boxes, rows[:, 1].long().tolist(), rows[:, 0].long().tolist(), batch_size, (size, size))


@pytest.fixture
def head() -> FakeHead:
    return FakeHead()
