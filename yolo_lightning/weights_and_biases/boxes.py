"""Boxes as W&B's viewer takes them. Needs neither torch nor wandb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_lightning.metrics.matching import EvaluationData, FloatArray, IntArray

__all__ = ["GROUND_TRUTH", "PREDICTIONS", "class_labels", "label_boxes", "prediction_boxes"]

PREDICTIONS, GROUND_TRUTH = "predictions", "ground_truth"
"""Names of the two groups, which the viewer switches on and off."""

_DIGITS = 6  # of a fraction: a hundredth of a pixel of the largest pictures
_SIDES = ("minX", "minY", "maxX", "maxY")


def class_labels(class_names: Sequence[str]) -> dict[int, str]:
    """The names by class, as the viewer takes them."""
    return dict(enumerate(class_names))


def prediction_boxes(
    data: EvaluationData, rows: IntArray, class_names: Sequence[str], scale: FloatArray, offset: FloatArray
) -> list[dict[str, Any]]:
    """Detections with their confidence as the score ``conf``, which has a slider.

    Args:
        data: All detections.
        rows: (n,) positions of those to show.
        class_names: Names of the classes.
        scale: (2,) x and y: from pixels of the image to fractions of the picture that is shown.
        offset: (2,) fractions to add then.
    """
    boxes = _boxes(data.boxes[rows], data.labels[rows], scale, offset)
    for box, score in zip(boxes, data.scores[rows].tolist(), strict=True):
        box["scores"] = {"conf": round(score, _DIGITS)}
        box["box_caption"] = f"{class_names[box['class_id']]} {score:.3f}"
    return boxes


def label_boxes(
    data: EvaluationData, rows: IntArray, class_names: Sequence[str], scale: FloatArray, offset: FloatArray
) -> list[dict[str, Any]]:
    """Labels; arguments as of :func:`prediction_boxes`."""
    boxes = _boxes(data.target_boxes[rows], data.target_labels[rows], scale, offset)
    for box in boxes:
        box["box_caption"] = class_names[box["class_id"]]
    return boxes


def _boxes(xyxy: FloatArray, labels: IntArray, scale: FloatArray, offset: FloatArray) -> list[dict[str, Any]]:
    fractions = (xyxy.reshape(-1, 2, 2) * scale + offset).clip(0.0, 1.0).reshape(-1, 4).round(_DIGITS).tolist()
    return [
        {"position": dict(zip(_SIDES, sides, strict=True)), "class_id": label}
        for sides, label in zip(fractions, labels.tolist(), strict=True)
    ]
