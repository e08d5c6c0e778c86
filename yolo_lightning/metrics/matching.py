"""What every reading of the results starts from: flat arrays of a whole data set, and the overlaps in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BoolArray",
    "CandidatePairs",
    "EvaluationData",
    "FloatArray",
    "IntArray",
    "candidate_pairs",
    "rank_in_group",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Bounds the memory of the overlap computation; blocks of this size also stay in the processor's cache.
_PAIRS_PER_BLOCK = 1 << 17


@dataclass(frozen=True)
class EvaluationData:
    """Detections (K) and labels (N) of all images, ordered by image; the detections of an image by falling score.

    Boxes are float64 xyxy pixels of the original images. Image indices count the images evaluated, 0…num_images − 1.

    Args:
        num_classes: Number of classes; labels are below it.
        num_images: Number of images, those without detections and labels too.
        boxes: (K, 4) detected boxes.
        scores: (K,) confidences.
        labels: (K,) detected classes.
        image_index: (K,) image of each detection, ascending.
        target_boxes: (N, 4) labelled boxes.
        target_labels: (N,) labelled classes.
        target_image_index: (N,) image of each label, ascending.
        target_crowd: (N,) whether the label marks a crowd, which COCO ignores.
        target_areas: (N,) area of the labelled object in square pixels.
    """

    num_classes: int
    num_images: int
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    image_index: IntArray
    target_boxes: FloatArray
    target_labels: IntArray
    target_image_index: IntArray
    target_crowd: BoolArray
    target_areas: FloatArray

    @property
    def areas(self) -> FloatArray:
        """(K,) areas of the detected boxes in square pixels."""
        return _box_areas(self.boxes)


@dataclass(frozen=True)
class CandidatePairs:
    """Detections and labels of the same image that overlap, of any classes; ordered by detection, then by label.

    Args:
        detections: (P,) positions of the detections.
        targets: (P,) positions of the labels.
        ious: (P,) intersection over union; over the detection's area where the label is a crowd, as COCO has it.
    """

    detections: IntArray
    targets: IntArray
    ious: FloatArray

    def where(self, mask: BoolArray) -> CandidatePairs:
        """The pairs at which a (P,) mask is true."""
        return CandidatePairs(self.detections[mask], self.targets[mask], self.ious[mask])

    def best_target(self) -> CandidatePairs:
        """For each detection the pair of highest overlap; the first label among equals."""
        order = np.lexsort((self.targets, -self.ious, self.detections))
        first = np.unique(self.detections[order], return_index=True)[1]
        return CandidatePairs(self.detections[order][first], self.targets[order][first], self.ious[order][first])


def candidate_pairs(data: EvaluationData, min_iou: float) -> CandidatePairs:
    """Finds all pairs of a detection and a label of the same image with an overlap of at least ``min_iou``."""
    counts = np.bincount(data.target_image_index, minlength=data.num_images)
    partners = counts[data.image_index]
    first_partner = (np.cumsum(counts) - counts)[data.image_index]
    ends = np.cumsum(partners)
    num_blocks = int(ends[-1]) // _PAIRS_PER_BLOCK + 1 if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(1, num_blocks) * _PAIRS_PER_BLOCK).tolist()
    blocks = []
    for start, stop in zip([0, *cuts], [*cuts, len(ends)], strict=True):
        repeats = partners[start:stop]
        detections = np.repeat(np.arange(start, stop), repeats)
        offsets = np.arange(len(detections)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        targets = first_partner[detections] + offsets
        ious = _ious(data.boxes[detections], data.target_boxes[targets], data.target_crowd[targets])
        kept = ious >= min_iou
        blocks.append((detections[kept], targets[kept], ious[kept]))
    return CandidatePairs(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def rank_in_group(groups: IntArray) -> IntArray:
    """The position of each element among those of its group, in the order given."""
    order = np.argsort(groups, kind="stable")
    is_first = np.diff(groups[order], prepend=-1) != 0
    first = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order)) - first
    return ranks


def _ious(boxes: FloatArray, target_boxes: FloatArray, target_crowd: BoolArray) -> FloatArray:
    left_top = np.maximum(boxes[:, :2], target_boxes[:, :2])
    right_bottom = np.minimum(boxes[:, 2:], target_boxes[:, 2:])
    sides = np.maximum(right_bottom - left_top, 0.0)
    intersections = sides[:, 0] * sides[:, 1]
    areas = _box_areas(boxes)
    unions = np.where(target_crowd, areas, areas + _box_areas(target_boxes) - intersections)
    ious: FloatArray = np.divide(intersections, unions, out=np.zeros_like(unions), where=intersections > 0)
    return ious


def _box_areas(boxes: FloatArray) -> FloatArray:
    areas: FloatArray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
