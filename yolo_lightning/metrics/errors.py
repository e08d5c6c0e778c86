"""Why the mean average precision is not 1: each wrong detection and missed label by kind, and what each kind costs.

After TIDE, https://arxiv.org/abs/2008.08115.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.coco import (
    AREA_RANGES,
    average_precision,
    counted_targets,
    match_detections,
)
from yolo_lightning.metrics.matching import (
    BoolArray,
    CandidatePairs,
    EvaluationData,
    FloatArray,
    IntArray,
    candidate_pairs,
)

__all__ = ["ERROR_KINDS", "ErrorSplit", "split_errors"]

ERROR_KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""The box is right but not the class; the class but not the box; neither; the label is found already; no label; a label
that nothing found."""

_RIGHT, _NO_PART = -1, -2
_ALL_AREAS = np.array([AREA_RANGES["all"]])


@dataclass(frozen=True)
class ErrorSplit:
    """The errors of an evaluation, and what they cost.

    Args:
        map_50: AP at IoU .5 (``foreground_iou``), mean over classes with labels: COCO's reading, 101 recalls, 100
            detections of an image and class, crowds ignored. 0 without labels.
        kinds: (K,) position in ``ERROR_KINDS`` of each wrong detection, −1 for right ones, −2 for those that play no
            part (on a crowd; beyond 100 of an image and class).
        targets: (K,) the label that a detection found or comes closest to (highest IoU; of the same class for right,
            localisation and duplicate, of any class otherwise), −1 without overlap of at least ``background_iou``.
        ious: (K,) IoU with it, 0 without.
        missed: (N,) labels that nothing found and that no error of classification or localisation explains.
        costs: AP gained if the errors of one kind alone were mended, for the six kinds, and for ``false_positive`` (all
            wrong detections removed) and ``false_negative`` (only found labels count). They do not add up to 1 − mAP,
            since AP is no sum.
    """

    map_50: float
    kinds: IntArray
    targets: IntArray
    ious: FloatArray
    missed: BoolArray
    costs: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Number of errors of each of the six kinds."""
        detections = np.bincount(self.kinds[self.kinds >= 0], minlength=len(ERROR_KINDS))
        return dict(zip(ERROR_KINDS, detections.tolist(), strict=True)) | {"missed": int(self.missed.sum())}


def split_errors(data: EvaluationData, *, foreground_iou: float = 0.5, background_iou: float = 0.1) -> ErrorSplit:
    """Gives each wrong detection one kind of error, and tells what each kind costs.

    A wrong detection that overlaps a label of its class by ``foreground_iou`` is a duplicate, else one that so overlaps
    a label of another class is an error of classification, else one that overlaps a label of its class by
    ``background_iou`` is an error of localisation, else one that so overlaps any label is both, else background. What
    mends an error:

    - classification, localisation: the detection becomes right; of several right ones of a label the most confident
      stays;
    - both, duplicate, background: the detection is removed;
    - missed: the label does not count. Where no label of a class is left, its AP is 1 if nothing wrong was detected
      either, else 0.

    Args:
        data: Detections and labels.
        foreground_iou: IoU from which on a detection is at its label, up to 1.
        background_iou: IoU from which on it has to do with it, above 0.

    Raises:
        ValueError: Unless 0 < ``background_iou`` ≤ ``foreground_iou`` ≤ 1.
    """
    if not 0 < background_iou <= foreground_iou <= 1:
        raise ValueError(
            f"background_iou {background_iou} and foreground_iou {foreground_iou} must be above 0 and at most 1, the "
            "first not above the second"
        )
    near = candidate_pairs(data, background_iou)
    matches = match_detections(data, near, np.array([foreground_iou]), _ALL_AREAS)
    hits, misses = matches.hits[:, 0, 0], matches.misses[:, 0, 0]
    counted = counted_targets(data, _ALL_AREAS)[:, 0]
    near = near.where(counted[near.targets])
    same_class = data.labels[near.detections] == data.target_labels[near.targets]
    own_target, own_iou = _closest(near.where(same_class), len(hits))
    any_target, any_iou = _closest(near, len(hits))

    conditions = [hits, ~misses, own_iou >= foreground_iou, any_iou >= foreground_iou, own_target >= 0, any_target >= 0]
    values = [_RIGHT, _NO_PART, *map(ERROR_KINDS.index, ("duplicate", "classification", "localisation", "both"))]
    kinds = np.select(conditions, values, ERROR_KINDS.index("background")).astype(np.int64)
    of_own_class = np.isin(kinds, [_RIGHT, ERROR_KINDS.index("localisation"), ERROR_KINDS.index("duplicate")])
    targets, ious = np.where(of_own_class, own_target, any_target), np.where(of_own_class, own_iou, any_iou)
    found = matches.pairs.where(matches.chosen[:, 0, 0] & hits[matches.pairs.detections])
    targets[found.detections], ious[found.detections] = found.targets, found.ious

    missed = counted.copy()
    explained = _is_kind(kinds, "classification") | _is_kind(kinds, "localisation") | hits
    missed[targets[explained]] = False
    ranking = _Ranking(data, hits, misses, np.bincount(data.target_labels[counted], minlength=data.num_classes))
    now = ranking.mean_average_precision()
    costs = {kind: mended.mean_average_precision() - now for kind, mended in _mended(ranking, kinds, targets, missed)}
    return ErrorSplit(now, kinds, targets, ious, missed, costs)


@dataclass(frozen=True)
class _Ranking:
    """All that AP at one IoU is read from.

    ``labels`` are the classes of the detections after mending, ``num_targets`` the (classes,) labels that still count.
    """

    data: EvaluationData
    hits: BoolArray
    misses: BoolArray
    num_targets: IntArray
    labels: IntArray | None = None

    def mean_average_precision(self) -> float:
        """Mean over the classes that have labels in the data; 0 without any."""
        labelled = counted_targets(self.data, _ALL_AREAS)[:, 0]
        classes = np.unique(self.data.target_labels[labelled]).tolist()
        labels = self.data.labels if self.labels is None else self.labels
        rows = np.flatnonzero(self.hits | self.misses)
        rows = rows[np.lexsort((-self.data.scores[rows], labels[rows]))]
        bounds = np.searchsorted(labels[rows], np.arange(self.data.num_classes + 1))
        parts = [rows[bounds[label] : bounds[label + 1]] for label in classes]
        values = [
            self._average_precision(part, int(self.num_targets[i])) for i, part in zip(classes, parts, strict=True)
        ]
        return float(np.mean(values)) if values else 0.0

    def _average_precision(self, rows: IntArray, num_targets: int) -> float:
        if num_targets == 0:
            return float(not len(rows))
        return float(average_precision(self.hits[rows, None], self.misses[rows, None], num_targets)[0])


def _mended(ranking: _Ranking, kinds: IntArray, targets: IntArray, missed: BoolArray) -> Iterator[tuple[str, _Ranking]]:
    """What is left of the evaluation without the errors of one kind."""
    data, hits, misses, num_targets = ranking.data, ranking.hits, ranking.misses, ranking.num_targets
    for kind in ERROR_KINDS[:2]:
        right = hits | _is_kind(kinds, kind)
        rows = np.flatnonzero(right)
        rows = rows[np.lexsort((rows, -data.scores[rows], targets[rows]))]
        right[rows] = np.diff(targets[rows], prepend=-1) != 0  # the best of each label
        labels = data.labels.copy()
        labels[right] = data.target_labels[targets[right]]
        yield kind, _Ranking(data, right, misses & ~_is_kind(kinds, kind), num_targets, labels)
    for kind in ERROR_KINDS[2:5]:
        yield kind, _Ranking(data, hits, misses & ~_is_kind(kinds, kind), num_targets)
    num_missed = np.bincount(data.target_labels[missed], minlength=data.num_classes)
    yield "missed", _Ranking(data, hits, misses, num_targets - num_missed)
    yield "false_positive", _Ranking(data, hits, np.zeros_like(misses), num_targets)
    yield "false_negative", _Ranking(data, hits, misses, np.bincount(data.labels[hits], minlength=data.num_classes))


def _is_kind(kinds: IntArray, kind: str) -> BoolArray:
    result: BoolArray = kinds == ERROR_KINDS.index(kind)
    return result


def _closest(pairs: CandidatePairs, num_detections: int) -> tuple[IntArray, FloatArray]:
    """(K,) label of highest IoU of each detection, −1 without any, and that IoU, 0 without."""
    best = pairs.best_target()
    targets, ious = np.full(num_detections, -1, dtype=np.int64), np.zeros(num_detections)
    targets[best.detections], ious[best.detections] = best.targets, best.ious
    return targets, ious
