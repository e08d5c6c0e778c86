"""The same few images again and again, with what the network makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.data.transforms import letterbox, letterbox_geometry
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.metrics.matching import EvaluationData, IntArray
from yolo_lightning.weights_and_biases.boxes import (
    GROUND_TRUTH,
    PREDICTIONS,
    class_labels,
    label_boxes,
    prediction_boxes,
)
from yolo_lightning.weights_and_biases.evaluation_callback import EvaluationCallback
from yolo_lightning.weights_and_biases.logger import RunWandbLogger

__all__ = ["BoundingBoxDebugger", "evenly_spaced"]

_PANEL = "BoundingBoxDebugger"

ReadImage = Callable[[int], npt.NDArray[np.uint8]]


class BoundingBoxDebugger(EvaluationCallback):
    """Shows a few images of the validation data with predictions and labels, epoch after epoch.

    The panel ``BoundingBoxDebugger`` has a slider for the confidence, switches for classes and for the groups
    ``predictions`` and ``ground_truth``, and another slider for the epoch. The images lie evenly spaced in the data, so
    that all runs on the same data show the same ones. The boxes are those from which the figures were read. Pictures
    are read and sent off the training thread.

    Args:
        num_images: Number of images.
        bbox_interval: Show them every so many epochs, and after the last one. None: ten times in a run, or every epoch
            if there are ten or fewer.
        confidence_threshold: Predictions below it are not sent.
        max_boxes: Most predictions of an image, the most confident.
        image_size: Sides of the pictures in pixels, to which images are scaled and padded; no more than the longest
            side of these images.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        num_images: int = 16,
        bbox_interval: int | None = None,
        confidence_threshold: float = 0.05,
        max_boxes: int = 100,
        image_size: int = 640,
    ) -> None:
        super().__init__(bbox_interval)
        for name, value in (("num_images", num_images), ("max_boxes", max_boxes), ("image_size", image_size)):
            if value < 1:
                raise ValueError(f"{name} of BoundingBoxDebugger must be at least 1, got {value}")
        self.num_images = num_images
        self.confidence_threshold = confidence_threshold
        self.max_boxes = max_boxes
        self.image_size = image_size
        self._warned = False

    def show(self, trainer: Trainer, logger: RunWandbLogger, evaluation: StoredEvaluation, epoch: int | None) -> None:
        """Hands over the images and their boxes."""
        data_of = getattr(getattr(trainer, "datamodule", None), "dataset", None)
        if data_of is None:
            if not self._warned:
                self._warned = True
                rank_zero_warn("W&B shows no boxes: there is no data module that has the images")
            return
        if evaluation.images:
            logger.log_media(_PANEL, lambda: self._pictures(evaluation, data_of(evaluation.split).read_image), epoch)

    def _pictures(self, evaluation: StoredEvaluation, read_image: ReadImage) -> list[Any]:
        positions = evenly_spaced(len(evaluation.images), self.num_images)
        data, names = evaluation.data, evaluation.class_names
        side = min(self.image_size, int(evaluation.image_sizes[positions].max()))
        pictures = []
        for position in positions.tolist():
            height, width = evaluation.image_sizes[position].tolist()
            geometry = letterbox_geometry((height, width), (side, side))
            # Of what the pixels were scaled by, which is a whole number of them.
            scale = np.array([geometry.resized[1] / width, geometry.resized[0] / height]) / side
            offset = np.array([geometry.borders[2], geometry.borders[0]]) / side
            groups = {
                PREDICTIONS: prediction_boxes(data, self._found(data, position), names, scale, offset),
                GROUND_TRUTH: label_boxes(data, _rows_of(data.target_image_index, position), names, scale, offset),
            }
            picture = import_wandb().Image(
                letterbox(read_image(int(evaluation.image_ids[position])), (side, side))[0],
                file_type="jpg",
                caption=PurePath(evaluation.images[position]).name,
                boxes={
                    group: {"box_data": boxes, "class_labels": class_labels(names)} for group, boxes in groups.items()
                },
            )
            pictures.append(picture)
        return pictures

    def _found(self, data: EvaluationData, position: int) -> IntArray:
        rows = _rows_of(data.image_index, position)[: self.max_boxes]  # they are in the order of falling confidence
        return rows[data.scores[rows] >= self.confidence_threshold]


def evenly_spaced(length: int, number: int) -> IntArray:
    """Up to ``number`` of the positions 0…length − 1, the first among them; depends on nothing else."""
    positions: IntArray = np.unique(np.linspace(0, length - 1, min(number, length)).round().astype(np.int64))
    return positions


def _rows_of(image_index: IntArray, position: int) -> IntArray:
    """Positions of what is of one image in an ascending ``image_index``."""
    return np.arange(*np.searchsorted(image_index, [position, position + 1]))
