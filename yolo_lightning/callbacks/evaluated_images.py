"""Which images an evaluation was of: figures do not need it, what is written of single images does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from yolo_lightning.callbacks.evaluated import evaluated_split
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.types import Batch

__all__ = ["EvaluatedImages"]


class EvaluatedImages:
    """Names and sizes of the images of an evaluation that goes on, those of this process."""

    def __init__(self) -> None:
        self._images: dict[int, tuple[str, tuple[int, int]]] = {}

    def add(self, batch: Batch) -> None:
        """Notes the images of a batch."""
        self._images |= {info.index: (info.path, info.original_size) for info in batch.infos}

    def clear(self) -> None:
        """Forgets them."""
        self._images = {}

    def evaluation(self, trainer: Trainer, pl_module: Any) -> StoredEvaluation:
        """The module's last evaluation with the names and sizes of all processes, each of which must call this.

        Args:
            trainer: The trainer.
            pl_module: Has ``evaluation`` and ``metrics``.
        """
        images = self._images
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, images)
            images = {index: image for part in parts for index, image in part.items()}
        ids = sorted(images)
        return StoredEvaluation(
            pl_module.evaluation,
            tuple(pl_module.metrics.class_names),
            tuple(images[index][0] for index in ids),
            np.array(ids, dtype=np.int64),
            np.array([images[index][1] for index in ids], dtype=np.int64).reshape(-1, 2),
            evaluated_split(trainer),
            trainer.current_epoch if trainer.state.fn == "fit" else None,
        )
