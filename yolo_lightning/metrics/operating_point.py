"""Chooses the confidence threshold of each class for a wanted precision or recall, and says how sure that is.

Precision and recall are the steps that the detections make, neither smoothed nor interpolated, from the matches that
YOLOv5's average precision is read from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.bootstrap import Float32Array, ImageBootstrap, share_interval
from yolo_lightning.metrics.matching import BoolArray, EvaluationData, FloatArray, IntArray, candidate_pairs
from yolo_lightning.metrics.yolov5 import correct_detections
from yolo_lightning.operating_point import (
    ClassThreshold,
    Evaluation,
    Measurement,
    OperatingPoint,
    Suppression,
    Target,
    WeightsFile,
)

__all__ = ["check_settings", "choose_operating_point"]

_Counts = IntArray | Float32Array

# Beyond this many, thresholds lie so close that leaving some out costs less than .1 % of the recall.
_MOST_CANDIDATES = 2000


def choose_operating_point(
    data: EvaluationData,
    class_names: Sequence[str],
    target: Target,
    *,
    iou_threshold: float = 0.5,
    min_labels: int = 10,
    num_resamples: int = 1000,
    seed: int = 0,
    data_name: str | None = None,
    split: str = "val",
    suppression: Suppression | None = None,
    weights: WeightsFile | None = None,
) -> OperatingPoint:
    """Chooses a threshold for each class.

    For a wanted precision it is the lowest threshold that reaches it, for a wanted recall the highest, for F-beta the
    one where that is highest; if nothing reaches what is wanted, the one that comes closest. A class with too few
    labels, or of which nothing was found, gets the threshold that would be chosen for all classes together.

    Precision and recall are measured on the images on which the threshold was chosen, so they are a little too good,
    the more so the fewer labels; another split tells.

    Args:
        data: Detections at a low confidence threshold, and labels.
        class_names: Names of the classes.
        target: What to reach.
        iou_threshold: Overlap from which on a detection is right, above 0 up to 1.
        min_labels: Classes with fewer labels have no threshold of their own.
        num_resamples: Samples of the images for the intervals.
        seed: Seed of their drawing.
        data_name: Name of the data set, to be kept.
        split: Name of the split, to be kept.
        suppression: How the detections were made, to be kept.
        weights: What made the detections, to be kept.

    Raises:
        ValueError: If a number is out of range, or not one label of any class was found.
    """
    check_settings(iou_threshold, min_labels, num_resamples)
    if len(class_names) != data.num_classes:
        raise ValueError(f"{len(class_names)} class names for {data.num_classes} classes")
    scored = _score(data, iou_threshold)
    if not scored.correct.any():
        raise ValueError(
            f"none of the {len(scored.target_labels)} labels on {data.num_images} images was found, so there is no "
            "threshold to choose"
        )
    bootstrap = ImageBootstrap(data.num_images, num_resamples, seed)
    pooled = _choose(scored, target, bootstrap, "all classes")
    classes = []
    for label, name in enumerate(class_names):
        own = scored.of_class(label)
        if len(own.target_labels) >= max(1, min_labels) and own.correct.any():
            classes.append(_choose(own, target, bootstrap, name))
        else:
            measured = _measure(own, pooled.threshold, bootstrap)
            classes.append(ClassThreshold(name, pooled.threshold, None, _reaches(target, measured), True, measured))
    thresholds = np.array([chosen.threshold for chosen in classes])
    return OperatingPoint(
        target=target,
        classes=tuple(classes),
        pooled=pooled,
        overall=_measure(scored, thresholds[scored.labels], bootstrap),
        evaluation=Evaluation(data_name, split, data.num_images, iou_threshold, min_labels, num_resamples, seed),
        suppression=suppression,
        weights=weights,
    )


@dataclass(frozen=True)
class _Scored:
    """Detections, right or wrong, and labels, without those of crowds."""

    scores: FloatArray
    correct: BoolArray
    labels: IntArray
    images: IntArray
    target_labels: IntArray
    target_images: IntArray

    def of_class(self, label: int) -> _Scored:
        own, targets = self.labels == label, self.target_labels == label
        detections = self.scores[own], self.correct[own], self.labels[own], self.images[own]
        return _Scored(*detections, self.target_labels[targets], self.target_images[targets])


@dataclass(frozen=True)
class _Candidates:
    """Thresholds to choose from, highest first, and what each lets through: (M,), and (M, samples) when resampled.

    The last label that it finds makes a candidate: one in between would only let more wrong detections through.
    """

    scores: FloatArray
    num_correct: IntArray
    num_detections: IntArray
    num_labels: int
    resampled_correct: Float32Array
    resampled_detections: Float32Array
    resampled_labels: Float32Array


def check_settings(iou_threshold: float, min_labels: int, num_resamples: int) -> None:
    """Refuses settings of :func:`choose_operating_point` that are out of range.

    Raises:
        ValueError: With the name of the setting.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is {iou_threshold}; it must be above 0 and at most 1")
    for name, value, least in (("min_labels", min_labels, 0), ("num_resamples", num_resamples, 100)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def _score(data: EvaluationData, iou_threshold: float) -> _Scored:
    pairs = candidate_pairs(data, iou_threshold)
    correct = correct_detections(data, pairs, np.array([iou_threshold]))[:, 0]
    counted = ~data.target_crowd
    targets = data.target_labels[counted], data.target_image_index[counted]
    return _Scored(data.scores, correct, data.labels, data.image_index, *targets)


def _choose(scored: _Scored, target: Target, bootstrap: ImageBootstrap, name: str) -> ClassThreshold:
    """The threshold of a class of which something was found."""
    candidates = _candidates(scored, bootstrap)
    labels = np.full(len(candidates.scores), candidates.num_labels)
    values = _value(target, candidates.num_correct, candidates.num_detections, labels)
    margin = np.zeros(len(values))
    if target.conservative:
        trials = {
            "precision": (candidates.num_detections, candidates.resampled_detections),
            "recall": (labels, candidates.resampled_labels),
        }[target.metric]
        low, _ = share_interval(candidates.num_correct, trials[0], candidates.resampled_correct, trials[1])
        margin = values - low
    threshold = _below(float(candidates.scores[_select(target, values - margin)]))
    measured = _measure(scored, threshold, bootstrap)
    interval = _threshold_interval(candidates, target, margin)
    return ClassThreshold(name, threshold, interval, _reaches(target, measured), False, measured)


def _candidates(scored: _Scored, bootstrap: ImageBootstrap) -> _Candidates:
    scores = np.unique(scored.scores[scored.correct])[::-1]
    if len(scores) > _MOST_CANDIDATES:
        scores = scores[np.linspace(0, len(scores) - 1, _MOST_CANDIDATES).round().astype(np.int64)]
    size = len(scores)
    first = np.searchsorted(-scores, -scored.scores)  # the first candidate that lets a detection through
    let_through = first < size
    found = let_through & scored.correct
    return _Candidates(
        scores=scores,
        num_correct=np.bincount(first[found], minlength=size).cumsum(),
        num_detections=np.bincount(first[let_through], minlength=size).cumsum(),
        num_labels=len(scored.target_labels),
        resampled_correct=bootstrap.sums(first[found], scored.images[found], size).cumsum(axis=0),
        resampled_detections=bootstrap.sums(first[let_through], scored.images[let_through], size).cumsum(axis=0),
        resampled_labels=bootstrap.sums(np.zeros_like(scored.target_images), scored.target_images, 1)[0],
    )


def _value(target: Target, correct: _Counts, detections: _Counts, labels: _Counts | int) -> FloatArray:
    """What is to be high enough."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if target.metric == "precision":
            return np.divide(correct, detections, dtype=np.float64)
        if target.metric == "recall":
            return np.divide(correct, labels, dtype=np.float64)
        weight = target.value**2
        result: FloatArray = np.divide((1 + weight) * correct, detections + weight * labels, dtype=np.float64)
        return result


def _select(target: Target, values: FloatArray) -> IntArray:
    """Position in (M, …) values, highest threshold first, of the one to use, (…)."""
    if target.metric != "f_beta":
        values = np.minimum(values, target.value)  # all that reach the target are equally good
    from_below = target.metric == "precision"  # then the last of these finds most
    best = np.asarray(values[::-1] if from_below else values).argmax(axis=0)
    return np.asarray(len(values) - 1 - best if from_below else best)


def _threshold_interval(candidates: _Candidates, target: Target, margin: FloatArray) -> tuple[float, float]:
    """Where the thresholds lie that the samples of the images would choose, with the same margins."""
    correct, detections = candidates.resampled_correct, candidates.resampled_detections
    values = _value(target, correct, detections, candidates.resampled_labels) - margin[:, None]
    is_found = np.diff(correct, axis=0, prepend=0) > 0  # in a sample without it, a label makes no candidate
    usable = is_found.any(axis=0)
    if not usable.any():
        return 0.0, 1.0
    positions = _select(target, np.where(is_found, values, -np.inf)[:, usable])
    low, high = np.quantile(candidates.scores[positions], [0.025, 0.975], method="nearest").tolist()
    return _below(low), _below(high)


def _measure(scored: _Scored, threshold: float | FloatArray, bootstrap: ImageBootstrap) -> Measurement:
    """Precision and recall of the detections above a threshold; it is rounded as NMS does."""
    above = scored.scores > np.asarray(threshold, dtype=np.float32)
    found, num_labels = above & scored.correct, len(scored.target_labels)
    images = [scored.images[found], scored.images[above], scored.target_images]
    counts = np.array([len(part) for part in images])
    rows = np.repeat(np.arange(3), counts)
    resampled = bootstrap.sums(rows, np.concatenate(images), 3)
    low, high = share_interval(counts[[0, 0]], counts[1:], resampled[[0, 0]], resampled[1:])
    shares = [
        (float(counts[0] / count), (float(low[i]), float(high[i]))) if count else (None, None)
        for i, count in enumerate(counts[1:])
    ]
    (precision, precision_interval), (recall, recall_interval) = shares
    return Measurement(num_labels, int(counts[1]), precision, precision_interval, recall, recall_interval)


def _reaches(target: Target, measured: Measurement) -> bool:
    if target.metric == "f_beta":
        return bool(measured.recall)
    share, interval = (
        (measured.precision, measured.precision_interval)
        if target.metric == "precision"
        else (measured.recall, measured.recall_interval)
    )
    if share is None or interval is None:
        return False
    return (interval[0] if target.conservative else share) >= target.value


def _below(score: float) -> float:
    """The threshold that just lets a float32 score through, in as few digits as tell it."""
    return float(str(np.nextafter(np.float32(score), np.float32(0.0))))
