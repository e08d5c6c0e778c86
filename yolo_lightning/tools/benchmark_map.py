"""mAP of several ways to run a network, in one pass over the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional

from yolo_lightning.data import DetectionDataModule
from yolo_lightning.errors import InputError
from yolo_lightning.metrics import DetectionMetrics
from yolo_lightning.ops import NMS, to_original
from yolo_lightning.text import first_line
from yolo_lightning.tools.benchmark_candidates import Run
from yolo_lightning.types import Batch, Detections

__all__ = ["Figures", "LabelledImages"]

Figures = Mapping[str, float]
"""As ``validate`` calls them."""


class LabelledImages:
    """Images of a data set on squares, or rectangles, of one size, as files for a fixed size need them.

    Args:
        data: The data.yaml.
        split: Which images.
        thresholds: Of confidence, and of the overlap in suppression.
        num_workers: Processes that read images; None takes one for each core.

    Raises:
        InputError: If the data cannot be read, or a threshold makes no sense.
    """

    def __init__(
        self,
        data: Path,
        *,
        split: Literal["train", "val", "test"],
        thresholds: tuple[float, float],
        num_workers: int | None,
    ) -> None:
        try:
            self._suppress = NMS(*thresholds)
        except ValueError as error:
            raise InputError(str(error)) from error
        self.data, self._split, self._num_workers = data, split, num_workers
        images = DetectionDataModule(data).dataset(split)
        self.num_images = len(images)  # reads the labels: what is wrong with the data is told before anything is made
        self.class_names = tuple(images.class_names)

    @torch.inference_mode()
    def evaluate(
        self,
        runs: Mapping[str, Run],
        *,
        image_size: tuple[int, int],
        batch_size: int,
        stride: int,
        device: torch.device,
    ) -> tuple[dict[str, Figures], dict[str, str]]:
        """The figures of each run, and of those that failed why.

        Args:
            runs: By name.
            image_size: Height and width of the images.
            batch_size: Images that each run takes, the last batch filled up.
            stride: Of the network.
            device: Where the images go.

        Raises:
            InputError: If no image can be read.
        """
        module = DetectionDataModule(
            self.data,
            validate_split=self._split,
            image_size=image_size,
            rectangular=False,
            stride=stride,
            eval_batch_size=batch_size,
            num_workers=self._num_workers,
            persistent_workers=False,
        )
        module.setup("validate")
        metrics = {name: DetectionMetrics(self.class_names) for name in runs}
        errors: dict[str, str] = {}
        num_batches = 0
        for batch in module.val_dataloader():
            images = batch.images.to(device).float().div(255)
            missing = batch_size - len(images)
            padded = functional.pad(images, (0, 0) * 3 + (0, missing))
            for name in [name for name in runs if name not in errors]:
                try:
                    boxes, scores = runs[name](padded)
                    found = self._suppress(boxes[: len(batch)], scores[: len(batch)])
                except Exception as error:  # runtimes raise what they like
                    errors[name] = first_line(error)
                else:
                    _add(metrics[name], found, batch)
            num_batches += 1
        if not num_batches:
            raise InputError(f"{self.data}: none of the images of '{self._split}' could be read")
        return {name: _figures(metrics[name]) for name in runs if name not in errors}, errors


def _add(metrics: DetectionMetrics, found: list[Detections], batch: Batch) -> None:
    """Detections and labels in pixels of the original images."""
    predictions, targets = [], []
    for position, (detections, info) in enumerate(zip(found, batch.infos, strict=True)):
        own = batch.image_index == position
        boxes = to_original(detections.boxes, info)
        predictions.append(Detections(boxes, detections.scores, detections.labels).to("cpu"))
        targets.append({"boxes": to_original(batch.boxes[own], info), "labels": batch.labels[own]})
    metrics.update(predictions, targets, image_ids=[info.index for info in batch.infos])


def _figures(metrics: DetectionMetrics) -> Figures:
    return {name: value for name, value in metrics.compute().items() if isinstance(value, float)}
