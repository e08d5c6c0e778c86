"""The accumulator of evaluation results: one pass over the images, every number read from the same detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from yolo_lightning.metrics.evaluation import MetricValue, evaluate
from yolo_lightning.metrics.matching import EvaluationData

__all__ = ["DetectionMetrics"]

_STATES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "image_ids": ((0,), torch.int64),
    "detection_counts": ((0,), torch.int64),
    "detection_boxes": ((0, 4), torch.float32),
    "detection_scores": ((0,), torch.float32),
    "detection_labels": ((0,), torch.int64),
    "target_counts": ((0,), torch.int64),
    "target_boxes": ((0, 4), torch.float32),
    "target_labels": ((0,), torch.int64),
    "target_crowd": ((0,), torch.uint8),
    "target_areas": ((0,), torch.float64),
}


class DetectionMetrics(Metric):
    """Collects detections and labels, and reads COCO's and YOLOv5's numbers from them.

    Works in any number of processes: states are gathered once, in ``compute``. With ``image_ids`` the result does not
    depend, to the last bit, on the order of the images or on which process saw which.

    Args:
        class_names: Names of the classes; a label is a position in it.
        reference_quirks: Counts the confusion matrix as YOLOv5 does: unmatched detections only on images that have a
            match. By default every unmatched detection counts.
        **kwargs: Passed to ``torchmetrics.Metric``.

    Raises:
        ValueError: If there is no class name.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    image_ids: list[Tensor]
    detection_counts: list[Tensor]
    detection_boxes: list[Tensor]
    detection_scores: list[Tensor]
    detection_labels: list[Tensor]
    target_counts: list[Tensor]
    target_boxes: list[Tensor]
    target_labels: list[Tensor]
    target_crowd: list[Tensor]
    target_areas: list[Tensor]

    def __init__(self, class_names: Sequence[str], *, reference_quirks: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not class_names:
            raise ValueError("metrics need at least one class name")
        self.class_names = tuple(class_names)
        self.reference_quirks = reference_quirks
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, detections: Sequence[object], targets: Sequence[object], image_ids: Sequence[int] | None = None
    ) -> None:
        """Adds images. Boxes are xyxy pixels of the original image.

        Args:
            detections: For each image a ``Detections``, or a mapping or object with ``boxes`` (K, 4), ``scores`` (K,)
                in 0…1 and ``labels`` (K,).
            targets: For each image a mapping or object with ``boxes`` (n, 4) and ``labels`` (n,), optionally
                ``iscrowd`` (n,) and ``area`` (n,) in square pixels, by default the box's.
            image_ids: For each image its position in the data set. By default images are numbered as they come, which
                is possible in a single process only.

        Raises:
            ValueError: If the numbers of images differ, or shapes do not fit.
        """
        if len(detections) != len(targets) or (image_ids is not None and len(image_ids) != len(targets)):
            given = "" if image_ids is None else f" and {len(image_ids)} image ids"
            raise ValueError(f"{len(detections)} images of detections but {len(targets)} of targets{given}")
        if image_ids is None:
            start = sum(map(len, self.image_ids))
            image_ids = range(start, start + len(targets))
        # All is read before anything is kept: a bad image leaves the states as they were.
        rows = [self._read_detections(item) for item in detections]
        target_rows = [self._read_target(item) for item in targets]
        self._add_integers("image_ids", image_ids)
        self._add_integers("detection_counts", [len(row["detection_boxes"]) for row in rows])
        self._add_integers("target_counts", [len(row["target_boxes"]) for row in target_rows])
        for row in (*rows, *target_rows):
            for name, tensor in row.items():
                getattr(self, name).append(tensor)

    def compute(self) -> dict[str, MetricValue]:
        """Reads all numbers; the same on every process.

        Returns:
            A flat dictionary of Python floats and integers and numpy arrays: COCO's ``map``, ``map_50``, … as in
            ``coco_metrics``; YOLOv5's ``yolov5_map``, ``precision``, ``fitness``, …, per-class arrays, curves and
            counts as in ``yolov5_metrics``; ``confusion_matrix`` (classes + 1, classes + 1), rows detected, columns
            labelled, the background last, at confidence .25 and IoU .45.

        Raises:
            ValueError: If an image came twice, a label is not a class, or a score is not a number.
        """
        try:
            data = self.evaluation_data()
        except ValueError:
            # torchmetrics would leave the states of all processes in place, which no reset clears.
            self.unsync(should_unsync=self._is_synced)
            raise
        self.evaluated = data
        return evaluate(data, reference_quirks=self.reference_quirks)

    evaluated: EvaluationData | None = None
    """What the last ``compute`` read its numbers from."""

    def evaluation_data(self) -> EvaluationData:
        """What this process holds, checked and in the order of the image ids; all images while synchronised.

        Raises:
            ValueError: As ``compute``.
        """
        state = {name: self._state(name) for name in _STATES}
        image_ids = state["image_ids"]
        _check_unique(image_ids)
        position = np.argsort(np.argsort(image_ids))
        image_index = np.repeat(position, state["detection_counts"])
        target_image_index = np.repeat(position, state["target_counts"])
        order = np.lexsort((-state["detection_scores"], image_index))
        target_order = np.argsort(target_image_index, kind="stable")
        boxes = state["target_boxes"].astype(np.float64)
        areas = np.where(
            np.isnan(state["target_areas"]), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), state["target_areas"]
        )
        data = EvaluationData(
            num_classes=len(self.class_names),
            num_images=len(image_ids),
            boxes=state["detection_boxes"][order].astype(np.float64),
            scores=state["detection_scores"][order].astype(np.float64),
            labels=state["detection_labels"][order],
            image_index=image_index[order],
            target_boxes=boxes[target_order],
            target_labels=state["target_labels"][target_order],
            target_image_index=target_image_index[target_order],
            target_crowd=state["target_crowd"][target_order].astype(np.bool_),
            target_areas=areas[target_order],
        )
        _check_values(data, np.sort(image_ids))
        return data

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the states of all processes, also of those that saw no image."""
        # torchmetrics sends a flat float32 tensor for an empty state, whatever shape and type the others have:
        # that crashes or hangs.
        for name in _STATES:
            if isinstance(state := getattr(self, name), list) and not state:
                setattr(self, name, [self._empty(name)])
        super().sync(*args, **kwargs)

    def _read_detections(self, item: object) -> dict[str, Tensor]:
        names = ("boxes", "scores", "labels")
        row = {f"detection_{name}": self._tensor(f"detection_{name}", _field(item, name)) for name in names}
        _check_shapes(row)
        return row

    def _read_target(self, item: object) -> dict[str, Tensor]:
        row = {f"target_{name}": self._tensor(f"target_{name}", _field(item, name)) for name in ("boxes", "labels")}
        for name, key, default in (("target_crowd", "iscrowd", 0.0), ("target_areas", "area", torch.nan)):
            values = _field(item, key, None)
            if values is None:
                values = torch.full(row["target_boxes"].shape[:1], default, device=self.device)
            row[name] = self._tensor(name, values)
        _check_shapes(row)
        return row

    def _add_integers(self, name: str, values: Sequence[int]) -> None:
        getattr(self, name).append(self._tensor(name, torch.tensor(list(values), dtype=torch.int64)))

    def _tensor(self, name: str, values: Any) -> Tensor:
        shape, _ = _STATES[name]
        # Towards a GPU a copy need not wait for it; from a GPU it must.
        waits = self.device.type == "cpu"
        tensor = torch.as_tensor(values).detach().to(self.device, self._dtype_of(name), non_blocking=not waits)
        return tensor.reshape(shape) if tensor.numel() == 0 else tensor

    def _dtype_of(self, name: str) -> torch.dtype:
        _, dtype = _STATES[name]
        return torch.float32 if dtype == torch.float64 and self.device.type == "mps" else dtype

    def _empty(self, name: str) -> Tensor:
        return torch.empty(_STATES[name][0], dtype=self._dtype_of(name), device=self.device)

    def _state(self, name: str) -> npt.NDArray[Any]:
        value = getattr(self, name)
        tensor = dim_zero_cat(value) if isinstance(value, Tensor) or len(value) else self._empty(name)
        array: npt.NDArray[Any] = tensor.cpu().numpy()
        return array


def _field(item: object, name: str, *default: object) -> Any:
    if isinstance(item, Mapping):
        if name in item or default:
            return item.get(name, *default)
        raise ValueError(f"detections and targets need {name!r}, found only {sorted(map(str, item))}")
    return getattr(item, name, *default)


def _check_shapes(row: Mapping[str, Tensor]) -> None:
    name, boxes = next(iter(row.items()))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} of an image must be (n, 4) xyxy, found {tuple(boxes.shape)}")
    for column, values in row.items():
        if values.shape[:1] != boxes.shape[:1] or values.ndim != len(_STATES[column][0]):
            raise ValueError(
                f"{column} of an image must be ({len(boxes)},) like its boxes, found {tuple(values.shape)}"
            )


def _check_unique(image_ids: npt.NDArray[np.int64]) -> None:
    ids, counts = np.unique(image_ids, return_counts=True)
    if (repeated := ids[counts > 1]).size:
        raise ValueError(
            f"{repeated.size} images were evaluated more than once, first {repeated[:5].tolist()}: use a sampler "
            "that does not pad, pass each image's position in the data set as image_ids, and reset between runs"
        )


def _check_values(data: EvaluationData, image_ids: npt.NDArray[np.int64]) -> None:
    for kind, labels, index in (
        ("a detection", data.labels, data.image_index),
        ("a target", data.target_labels, data.target_image_index),
    ):
        if (wrong := np.flatnonzero((labels < 0) | (labels >= data.num_classes))).size:
            label, image = labels[wrong[0]], image_ids[index[wrong[0]]]
            raise ValueError(f"image {image}: {kind} has label {label}, but there are {data.num_classes} classes")
    if (wrong := np.flatnonzero(np.isnan(data.scores))).size:
        raise ValueError(f"image {image_ids[data.image_index[wrong[0]]]}: the score of a detection is not a number")
