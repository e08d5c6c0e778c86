"""What a ``DataLoader`` is given: how samples are put together, and what happens to those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from yolo_lightning.data.transforms import PADDING_VALUE
from yolo_lightning.types import Batch, ImageInfo, Sample

__all__ = ["EvaluationLoader", "collate_evaluation", "collate_training", "one_thread"]


class EvaluationLoader(DataLoader[Sample | None]):
    """Passes over batches of which no image could be read; evaluation does not need equal counts on all ranks.

    Its length is at least 1, because Lightning skips the whole evaluation, hooks and all, on a rank whose loader has
    length 0, and the others would wait for it when they combine their numbers. Yielding less than that is no problem.
    """

    def __len__(self) -> int:
        return max(1, super().__len__())

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return (batch for batch in super().__iter__() if batch is not None)


def collate_evaluation(samples: Sequence[Sample | None]) -> Batch | None:
    """The batch of what could be read, None if that is nothing."""
    readable = [sample for sample in samples if sample is not None]
    return Batch.collate(readable) if readable else None


def collate_training(samples: Sequence[Sample | None], canvas: tuple[int, int]) -> Batch:
    """The batch of what could be read; if that is nothing, a grey image of ``canvas`` pixels without objects.

    A step without images is not possible while other processes wait for its gradients.
    """
    return collate_evaluation(samples) or Batch.collate([_blank(canvas)])


def _blank(canvas: tuple[int, int]) -> Sample:
    image = np.full((*canvas, 3), PADDING_VALUE, np.uint8)
    info = ImageInfo("<no image of this batch could be read>", -1, canvas)
    return Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), info)


def one_thread(worker: int) -> None:
    """Prepares a worker process."""
    cv2.setNumThreads(0)  # the workers themselves are the parallelism
