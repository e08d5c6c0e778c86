"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from yolo_lightning.metrics.matching import BoolArray, CandidatePairs, EvaluationData, IntArray

__all__ = ["CONFUSION_CONFIDENCE", "CONFUSION_IOU", "confusion_matrix"]

CONFUSION_CONFIDENCE = 0.25
CONFUSION_IOU = 0.45


def confusion_matrix(
    data: EvaluationData,
    pairs: CandidatePairs,
    *,
    confidence_threshold: float = CONFUSION_CONFIDENCE,
    iou_threshold: float = CONFUSION_IOU,
    reference_quirks: bool = False,
) -> IntArray:
    """Counts detections by detected class (row) and labelled class (column); the last of each is the background.

    A detection claims the label that it overlaps most, of whatever class; a label goes to the claim of highest overlap.
    Detections without a label count in the last column, labels without a detection in the last row. Labels that mark
    crowds are left out.

    Args:
        data: Detections and labels.
        pairs: All overlaps of at least ``iou_threshold``.
        confidence_threshold: Detections count above this score.
        iou_threshold: Pairs count above this overlap.
        reference_quirks: Leaves out the unmatched detections of images without any match, as YOLOv5 does.

    Returns:
        (classes + 1, classes + 1) counts.
    """
    background = data.num_classes
    confident = data.scores > confidence_threshold
    target_left, detection_left = ~data.target_crowd, confident.copy()
    usable = confident[pairs.detections] & target_left[pairs.targets] & (pairs.ious > iou_threshold)
    matches = _best_claims(pairs.where(usable).best_target())
    target_left[matches.targets] = detection_left[matches.detections] = False
    if reference_quirks:
        detection_left &= _has_match(data, matches)[data.image_index]
    cells = data.labels[matches.detections] * background + data.target_labels[matches.targets]
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    matrix[:-1, :-1] = np.bincount(cells, minlength=background**2).reshape(background, background)
    matrix[:-1, -1] = np.bincount(data.labels[detection_left], minlength=background)
    matrix[-1, :-1] = np.bincount(data.target_labels[target_left], minlength=background)
    return matrix


def _best_claims(claims: CandidatePairs) -> CandidatePairs:
    """For each label the pair of highest overlap; the more confident detection among equals."""
    order = np.lexsort((claims.detections, -claims.ious, claims.targets))
    first = np.unique(claims.targets[order], return_index=True)[1]
    return CandidatePairs(claims.detections[order][first], claims.targets[order][first], claims.ious[order][first])


def _has_match(data: EvaluationData, matches: CandidatePairs) -> BoolArray:
    result = np.zeros(data.num_images, dtype=np.bool_)
    result[data.image_index[matches.detections]] = True
    return result
