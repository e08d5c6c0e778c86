"""Why the mean average precision is not 1: each wrong detection and missed label by kind, and what each kind costs.

After TIDE, https://arxiv.org/abs/2008.08115. Kinds, missed labels and costs are those of its authors' library; what
differs on purpose is said at :func:`split_errors`.
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
_CLASSIFICATION, _LOCALISATION, _DUPLICATE = map(ERROR_KINDS.index, ("classification", "localisation", "duplicate"))
_EXPLAINING = _CLASSIFICATION, _LOCALISATION
_ALL_AREAS = np.array([AREA_RANGES["all"]])


@dataclass(frozen=True)
class ErrorSplit:
    """The errors of an evaluation, and what they cost.

    Args:
        map_50: AP at IoU .5 (``foreground_iou``), mean over classes with labels: COCO's reading, 101 recalls, 100
            detections of an image and class, crowds ignored. 0 without labels.
        kinds: (K,) position in ``ERROR_KINDS`` of each wrong detection, −1 for right ones, −2 for those that play no
            part (on a crowd; beyond 100 of an image and class).
        targets: (K,) the label that a detection found or comes closest to: that of highest IoU of its own class for
            localisation and duplicate, of other classes for classification and both, −1 for background.
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

    The first that fits: *localisation*, if it overlaps the closest label of its class by ``background_iou`` to
    ``foreground_iou``, both included; *classification*, if it overlaps a label of another class by ``foreground_iou``
    or more; *duplicate*, if it so overlaps one of its own class; *both*, if it overlaps one of another class by more
    than ``background_iou``; else *background*. Thus a box on a found label and on one of another class is an error of
    classification, and one on a label of another class that also touches its own is an error of localisation.

    What mends an error:

    - classification, localisation: the detection becomes right if nothing found the label. Of all errors of these two
      kinds at a label only the most confident can; the others, and those at a found label, are removed;
    - both, duplicate, background: the detection is removed;
    - missed: the label does not count. A class with no label left is left out, its AP being 0 if it still has wrong
      detections. Where no class is left, the AP is 1.

    Three things are COCO's and not the TIDE library's, so that ``map_50`` is the one reported everywhere else: 100
    detections of an image *and class* play a part (there: 100 of an image); a class without labels is no part of the
    mean (there: its AP is 0 if anything was detected as it); recalls are those of pycocotools, which differ from
    multiples of .01 in the last bit. Detections on crowds play no part, and costs are fractions, not per cent.

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
    other_target, other_iou = _closest(near.where(~same_class & (near.ious > background_iou)), len(hits))

    conditions = [
        hits,
        ~misses,
        (own_target >= 0) & (own_iou <= foreground_iou),
        other_iou >= foreground_iou,
        own_target >= 0,
        other_target >= 0,
    ]
    values = [_RIGHT, _NO_PART, _LOCALISATION, _CLASSIFICATION, _DUPLICATE, ERROR_KINDS.index("both")]
    kinds = np.select(conditions, values, ERROR_KINDS.index("background")).astype(np.int64)
    of_own_class = np.isin(kinds, [_RIGHT, _LOCALISATION, _DUPLICATE])
    targets, ious = np.where(of_own_class, own_target, other_target), np.where(of_own_class, own_iou, other_iou)
    found = matches.pairs.where(matches.chosen[:, 0, 0] & hits[matches.pairs.detections])
    targets[found.detections], ious[found.detections] = found.targets, found.ious

    missed = counted.copy()
    missed[targets[hits | np.isin(kinds, _EXPLAINING)]] = False
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
        """Mean over the classes that have labels in the data, less those with neither labels nor detections left.

        0 without any labels in the data, 1 if nothing is left.
        """
        labelled = counted_targets(self.data, _ALL_AREAS)[:, 0]
        classes = np.unique(self.data.target_labels[labelled]).tolist()
        labels = self.data.labels if self.labels is None else self.labels
        rows = np.flatnonzero(self.hits | self.misses)
        rows = rows[np.lexsort((-self.data.scores[rows], labels[rows]))]
        bounds = np.searchsorted(labels[rows], np.arange(self.data.num_classes + 1))
        parts = [rows[bounds[label] : bounds[label + 1]] for label in classes]
        values = [
            self._average_precision(part, int(self.num_targets[i]))
            for i, part in zip(classes, parts, strict=True)
            if len(part) or self.num_targets[i]
        ]
        if not values:
            return float(bool(classes))
        return float(np.mean(values))

    def _average_precision(self, rows: IntArray, num_targets: int) -> float:
        if num_targets == 0:
            return 0.0
        return float(average_precision(self.hits[rows, None], self.misses[rows, None], num_targets)[0])


def _mended(ranking: _Ranking, kinds: IntArray, targets: IntArray, missed: BoolArray) -> Iterator[tuple[str, _Ranking]]:
    """What is left of the evaluation without the errors of one kind."""
    data, hits, misses, num_targets = ranking.data, ranking.hits, ranking.misses, ranking.num_targets
    found = np.zeros(len(data.target_labels), dtype=np.bool_)
    found[targets[hits]] = True
    rows = np.flatnonzero(np.isin(kinds, _EXPLAINING))
    rows = rows[~found[targets[rows]]]
    rows = rows[np.lexsort((rows, -data.scores[rows], targets[rows]))]
    best = np.zeros_like(hits)
    best[rows] = np.diff(targets[rows], prepend=-1) != 0
    for kind in ERROR_KINDS[:2]:
        right = hits | (best & _is_kind(kinds, kind))
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
