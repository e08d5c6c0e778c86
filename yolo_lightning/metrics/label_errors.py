"""Labels that are probably wrong: where a model that is mostly right is sure of something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from yolo_lightning.metrics.coco import AREA_RANGES
from yolo_lightning.metrics.errors import ERROR_KINDS, ErrorSplit, split_errors
from yolo_lightning.metrics.matching import (
    BoolArray,
    CandidatePairs,
    EvaluationData,
    FloatArray,
    IntArray,
    candidate_pairs,
)

__all__ = ["IssueKind", "LabelIssue", "probable_label_errors"]

IssueKind = Literal["missing", "wrong class", "bad box", "spurious"]

# From this overlap on, a box is as good as labels are.
_GOOD_IOU = 0.75
_SAME_OBJECT_IOU = 0.5
_LEAST_SCORE = 0.1


@dataclass(frozen=True)
class LabelIssue:
    """A label, or the lack of one, to look at.

    Args:
        kind: ``missing``: an object without a label; ``wrong class``; ``bad box``; ``spurious``: a label without an
            object.
        image: Image index.
        score: 0…1, the higher the more suspicious.
        detection: Position of the detection that disagrees; None for ``spurious``.
        target: Position of the label; None for ``missing``.
    """

    kind: IssueKind
    image: int
    score: float
    detection: int | None
    target: int | None


def probable_label_errors(data: EvaluationData, errors: ErrorSplit | None = None, most: int = 1000) -> list[LabelIssue]:
    """Ranks labels by how surely the model disagrees with them.

    The model must not have been trained on these images, or it has learnt the errors too. The score of an issue is

    - ``missing``: the confidence of a detection that overlaps no label; of several of one object the highest;
    - ``wrong class``: confidence × IoU of a detection of another class with the label × (1 − the highest confidence
      among detections of the label's class that overlap it by .5);
    - ``bad box``: confidence × min(1, 2 (1 − IoU)) of a detection of the label's class with an IoU below .75 × (1 − the
      highest confidence among those of .75 and more);
    - ``spurious``: for a label to which no detection of any class and confidence belongs, how sure the model is
      elsewhere: the mean, over the labels of that class, or of that COCO size if it is lower, of the highest confidence
      among the detections that belong to each. What overlaps a label more than any other belongs to it.

    A detection or label is named once, in the issue of highest score. Scores below .1 are left out.

    Args:
        data: Detections, best at a low confidence threshold, and labels.
        errors: What :func:`split_errors` says of them, if known.
        most: Length of the list at most.

    Returns:
        Issues, most suspicious first.
    """
    if errors is None:
        errors = split_errors(data)
    pairs = candidate_pairs(data, _SAME_OBJECT_IOU)
    pairs = pairs.where(~data.target_crowd[pairs.targets])
    errors = _at_closest_labels(data, errors, pairs)
    issues = [*_missing(data, errors), *_disagreements(data, errors, pairs), *_spurious(data, errors)]
    issues = [issue for issue in issues if issue.score >= _LEAST_SCORE]
    issues.sort(key=lambda issue: (-issue.score, issue.image))
    seen: set[int] = set()
    kept = []
    for issue in issues:
        if issue.target is None or issue.target not in seen:
            kept.append(issue)
            seen |= {issue.target} if issue.target is not None else set()
    return kept[:most]


def _missing(data: EvaluationData, errors: ErrorSplit) -> list[LabelIssue]:
    rows = np.flatnonzero(errors.kinds == ERROR_KINDS.index("background"))
    rows = rows[data.scores[rows] >= _LEAST_SCORE]
    rows = rows[_first_of_object(data, rows)]
    return [
        LabelIssue("missing", image, score, row, None)
        for row, image, score in zip(
            rows.tolist(), data.image_index[rows].tolist(), data.scores[rows].tolist(), strict=True
        )
    ]


def _first_of_object(data: EvaluationData, rows: IntArray) -> BoolArray:
    """Which of some detections overlap no more confident one among them; the detections come best first."""
    chosen = replace(
        data,
        boxes=data.boxes[rows],
        scores=data.scores[rows],
        labels=data.labels[rows],
        image_index=data.image_index[rows],
        target_boxes=data.boxes[rows],
        target_labels=data.labels[rows],
        target_image_index=data.image_index[rows],
        target_crowd=np.zeros(len(rows), dtype=np.bool_),
        target_areas=data.areas[rows],
    )
    pairs = candidate_pairs(chosen, _SAME_OBJECT_IOU)
    result = np.ones(len(rows), dtype=np.bool_)
    result[pairs.detections[pairs.targets < pairs.detections]] = False
    return result


def _at_closest_labels(data: EvaluationData, errors: ErrorSplit, pairs: CandidatePairs) -> ErrorSplit:
    """The errors by the label that a detection is at, its own class first.

    In the split of errors one that is at a label of another class is a bad box if it also touches a label of its own,
    which says nothing against that; and one at two labels is of the wrong class, though it doubts neither.
    """
    kinds, targets, ious = errors.kinds.copy(), errors.targets.copy(), errors.ious.copy()
    same_class = data.labels[pairs.detections] == data.target_labels[pairs.targets]
    at_own = np.zeros(len(kinds), dtype=np.bool_)
    at_own[pairs.detections[same_class]] = True
    own = pairs.where(same_class & (kinds[pairs.detections] == ERROR_KINDS.index("classification"))).best_target()
    other = pairs.where((kinds >= 0)[pairs.detections] & ~at_own[pairs.detections]).best_target()
    for closest, kind in ((own, "duplicate"), (other, "classification")):
        kinds[closest.detections] = ERROR_KINDS.index(kind)
        targets[closest.detections], ious[closest.detections] = closest.targets, closest.ious
    return replace(errors, kinds=kinds, targets=targets, ious=ious)


def _disagreements(data: EvaluationData, errors: ErrorSplit, pairs: CandidatePairs) -> list[LabelIssue]:
    """Wrong classes and bad boxes."""
    kinds, targets, ious, scores = errors.kinds, errors.targets, errors.ious, data.scores
    pairs = pairs.where(data.labels[pairs.detections] == data.target_labels[pairs.targets])
    doubt_of_box = 1 - _highest_score(data, pairs.where(pairs.ious >= _GOOD_IOU))
    doubt_of_class = 1 - _highest_score(data, pairs)
    other_class = np.flatnonzero(kinds == ERROR_KINDS.index("classification"))
    other_box = np.flatnonzero(np.isin(kinds, [-1, ERROR_KINDS.index("localisation")]) & (ious < _GOOD_IOU))
    found: list[tuple[IssueKind, IntArray, FloatArray]] = [
        ("wrong class", other_class, ious[other_class] * doubt_of_class[targets[other_class]]),
        ("bad box", other_box, np.minimum(1, 2 * (1 - ious[other_box])) * doubt_of_box[targets[other_box]]),
    ]
    return [
        LabelIssue(kind, int(data.image_index[row]), float(scores[row] * factor), int(row), int(targets[row]))
        for kind, rows, factors in found
        for row, factor in zip(rows, factors, strict=True)
        if scores[row] * factor >= _LEAST_SCORE
    ]


def _highest_score(data: EvaluationData, pairs: CandidatePairs) -> FloatArray:
    """(N,) highest score among the detections that a label is paired with, 0 without any."""
    result = np.zeros(len(data.target_labels))
    np.maximum.at(result, pairs.targets, data.scores[pairs.detections])
    return result


def _spurious(data: EvaluationData, errors: ErrorSplit) -> list[LabelIssue]:
    counted = ~data.target_crowd
    rows = np.flatnonzero(errors.targets >= 0)
    noticed = np.zeros(len(counted))
    np.maximum.at(noticed, errors.targets[rows], data.scores[rows])
    bounds = [high for _, high in list(AREA_RANGES.values())[1:3]]
    groups = data.target_labels, np.searchsorted(bounds, data.target_areas)
    expected = np.minimum(*(_group_mean(group, noticed, counted) for group in groups))
    unnoticed = counted.copy()
    unnoticed[errors.targets[rows]] = False
    return [
        LabelIssue("spurious", int(data.target_image_index[target]), float(expected[target]), None, int(target))
        for target in np.flatnonzero(unnoticed)
    ]


def _group_mean(groups: IntArray, values: FloatArray, counted: BoolArray) -> FloatArray:
    """(N,) for each label the mean value in its group."""
    totals = np.bincount(groups[counted], minlength=int(groups.max(initial=0)) + 1)
    sums = np.bincount(groups[counted], values[counted], minlength=len(totals))
    means: FloatArray = (sums / np.maximum(totals, 1))[groups]
    return means
