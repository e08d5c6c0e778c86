"""What is wrong on each image at one confidence threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from yolo_lightning.metrics.coco import AREA_RANGES, counted_targets, match_detections
from yolo_lightning.metrics.matching import EvaluationData, FloatArray, IntArray, candidate_pairs

__all__ = ["ImageErrors", "confident", "image_errors"]

_ALL_AREAS = np.array([AREA_RANGES["all"]])


@dataclass(frozen=True)
class ImageErrors:
    """The errors on each image.

    Args:
        missed: (num_images,) labels that no detection found.
        false: (num_images,) detections that found no label.
        f1: (num_images,) F1 of the detections of an image; 1 where there is nothing to find and nothing was found.
    """

    missed: IntArray
    false: IntArray
    f1: FloatArray

    def worst_first(self) -> IntArray:
        """(num_images,) the images by rising F1, then by falling number of errors, then in their order."""
        order: IntArray = np.lexsort((-(self.missed + self.false), self.f1))
        return order


def confident(data: EvaluationData, confidence_threshold: float) -> EvaluationData:
    """The same with the detections alone whose confidence is at least this."""
    keep = data.scores >= confidence_threshold
    names = ("boxes", "scores", "labels", "image_index")
    return replace(data, **{name: getattr(data, name)[keep] for name in names})


def image_errors(data: EvaluationData, iou_threshold: float = 0.5) -> ImageErrors:
    """Matches detections with labels as COCO does, and counts what is left over on each image.

    Labels that mark crowds, and detections of them, do not count.

    Args:
        data: Labels, and the detections that are shown.
        iou_threshold: IoU from which on a detection finds a label of its class.
    """
    pairs = candidate_pairs(data, iou_threshold)
    matches = match_detections(data, pairs, np.array([iou_threshold]), _ALL_AREAS)
    found = _per_image(data, data.image_index[matches.hits[:, 0, 0]])
    false = _per_image(data, data.image_index[matches.misses[:, 0, 0]])
    labels = _per_image(data, data.target_image_index[counted_targets(data, _ALL_AREAS)[:, 0]])
    total = found + false + labels  # detections that count, and labels
    f1 = np.divide(2 * found, total, out=np.ones(data.num_images), where=total > 0)
    return ImageErrors(labels - found, false, f1)


def _per_image(data: EvaluationData, images: IntArray) -> IntArray:
    counts: IntArray = np.bincount(images, minlength=data.num_images)
    return counts
