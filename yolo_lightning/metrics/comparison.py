"""Whether one model is better than another, or only looks so on these images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yolo_lightning.errors import InputError
from yolo_lightning.metrics.bootstrap import ImageBootstrap
from yolo_lightning.metrics.intervals import centred, percentile_interval
from yolo_lightning.metrics.matching import FloatArray, IntArray
from yolo_lightning.metrics.resampling import FIGURES, ResampledPrecision, resample_precision
from yolo_lightning.metrics.stored import StoredEvaluation

__all__ = ["Comparison", "Difference", "Verdict", "check_same_data", "compare_evaluations"]

Verdict = Literal["real", "noise"]
Noise = Mapping[str, float]

# Labels come back from the canvas of the network in float32.
_SAME_BOX_PIXELS = 0.1


@dataclass(frozen=True)
class Difference:
    """A figure of two models.

    Args:
        name: Name of the figure, or of the class.
        first: The first model's, mean over its seeds.
        second: The second model's.
        difference: Second minus first.
        low: Lower end of the interval of 95 % of the difference.
        high: Upper end.
        p_value: Two-sided: how often samples of the images say the opposite.
        verdict: ``real`` if the interval excludes 0, else ``noise``.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Args:
        figures: ``map``, ``map_50``, ``yolov5_map``, ``yolov5_map_50``, ``fitness``; none without labels.
        classes: COCO's AP at IoU .5 of each class with labels.
        num_images: Number of images.
        num_seeds: Number of runs of the first and of the second model.
        training_noise: Of the first and of the second model, the ``training_noise`` that is in the intervals; None for
            one of several runs, and where it is not known.
        num_resamples: Number of samples of the images.
        seed: Seed of their drawing.
    """

    figures: tuple[Difference, ...]
    classes: tuple[Difference, ...]
    num_images: int
    num_seeds: tuple[int, int]
    training_noise: tuple[Noise | None, Noise | None]
    num_resamples: int
    seed: int


def compare_evaluations(
    first: Sequence[StoredEvaluation],
    second: Sequence[StoredEvaluation],
    *,
    training_noise: tuple[Noise | None, Noise | None] = (None, None),
    num_resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compares two models by a paired bootstrap.

    Each sample of the images is drawn for both models, so that images that are hard for both do not count. That alone
    tells whether these networks differ on other images of the same kind; training once more with another seed would
    change the figures too. Several runs of a model tell how much: each sample draws runs with replacement too, and
    their deviation from the mean of the runs is widened by √(n / (n − 1)), since n runs drawn from n vary less than n
    new ones. For a single run its ``training_noise`` is added to the variance of the samples, which are spread
    accordingly; those of the classes like those of ``map_50``.

    Args:
        first: Runs of the first model that differ in the seed alone.
        second: Runs of the second model, on the same data.
        training_noise: Standard deviation that chance in training gives each of ``FIGURES``, of the first and of the
            second model, as of :func:`~yolo_lightning.metrics.training_noise.training_noise`. Of several runs it is not
            used.
        num_resamples: Number of samples.
        seed: Seed of their drawing.

    Raises:
        InputError: If they are not of the same data.
        ValueError: If a model has no run, or there are fewer than 100 samples.
    """
    if not first or not second:
        raise ValueError("each side needs an evaluation")
    if num_resamples < 100:
        raise ValueError(f"num_resamples is {num_resamples}; it must be at least 100")
    check_same_data([*first, *second])
    num_images, class_names = first[0].data.num_images, first[0].class_names
    counts = np.ones((1 + num_resamples, num_images), dtype=np.int64)
    if num_images:
        counts[1:] = ImageBootstrap(num_images, num_resamples, seed).counts
    generator = np.random.default_rng((seed, 1))
    sides = [
        _Side([resample_precision(run.data, counts) for run in runs], _draw_runs(generator, len(runs), num_resamples))
        for runs in (first, second)
    ]
    noises = [noise if len(runs) == 1 else None for noise, runs in zip(training_noise, (first, second), strict=True)]
    one, other = sides
    spreads = {
        name: _spread(other.figure(name) - one.figure(name), [noise.get(name, 0.0) for noise in noises if noise])
        for name in FIGURES
    }
    figures = [_difference(name, one.figure(name), other.figure(name), spreads[name]) for name in FIGURES]
    classes = [
        _difference(name, one.of_class(label), other.of_class(label), spreads["map_50"])
        for label, name in enumerate(class_names)
    ]
    return Comparison(
        tuple(figure for figure in figures if figure is not None),
        tuple(figure for figure in classes if figure is not None),
        num_images,
        (len(first), len(second)),
        (noises[0], noises[1]),
        num_resamples,
        seed,
    )


def check_same_data(evaluations: Sequence[StoredEvaluation], names: Sequence[str] | None = None) -> None:
    """Checks that evaluations are of the same images, labels and classes; directories may differ.

    Args:
        evaluations: One or more.
        names: What to call each in messages.

    Raises:
        InputError: With the first thing that differs, and what to do.
    """
    names = names or [f"evaluation {i + 1}" for i in range(len(evaluations))]
    for evaluation, name in zip(evaluations[1:], names[1:], strict=True):
        if what := _what_differs(evaluations[0], evaluation):
            raise InputError(
                f"{names[0]} and {name} are not of the same data: {what}. Evaluate both on the same split, with "
                "`yolo-lightning validate` and the same data.yaml, and compare those runs"
            )


class _Side:
    """What the runs of a model give on all images (row 0) and on each sample (the others)."""

    def __init__(self, runs: Sequence[ResampledPrecision], draws: IntArray) -> None:
        self._runs, self._draws = runs, draws
        self._figures = [run.figures for run in runs]

    def figure(self, name: str) -> FloatArray:
        """(1 + samples,) values of one of ``FIGURES``."""
        return self._mean(np.stack([figures[name] for figures in self._figures]))

    def of_class(self, label: int) -> FloatArray:
        """(1 + samples,) AP at IoU .5 of a class."""
        return self._mean(np.stack([run.average_precision_50[:, label] for run in self._runs]))

    def _mean(self, values: FloatArray) -> FloatArray:
        """Mean over the runs drawn, of (runs, 1 + samples)."""
        number = len(values)
        result: FloatArray = values.mean(axis=0)
        if number > 1:
            drawn = np.take_along_axis(values[:, 1:], self._draws, axis=0).mean(axis=0)
            result[1:] += (drawn - result[1:]) * np.sqrt(number / (number - 1))
        return result


def _draw_runs(generator: np.random.Generator, number: int, num_resamples: int) -> IntArray:
    """(runs, samples) which runs each sample has."""
    return generator.integers(number, size=(number, num_resamples))


def _spread(differences: FloatArray, noise: Sequence[float]) -> float:
    """By how much chance in training widens the distribution over samples."""
    samples = differences[1:][np.isfinite(differences[1:])]
    deviation = float(samples.std()) if len(samples) else 0.0
    return float(np.sqrt(1.0 + sum(value**2 for value in noise) / deviation**2)) if deviation > 0 else 1.0


def _difference(name: str, first: FloatArray, second: FloatArray, spread: float) -> Difference | None:
    """None without labels."""
    differences = second - first
    value = float(differences[0])
    samples = value + spread * (centred(differences[1:], value) - value)
    if np.isnan(value) or not len(samples):
        return None
    low, high = percentile_interval(samples)
    opposite = 1 + min((samples <= 0).sum(), (samples >= 0).sum())
    p_value = min(1.0, 2.0 * float(opposite) / (1 + len(samples)))
    verdict: Verdict = "real" if low > 0 or high < 0 else "noise"
    return Difference(name, float(first[0]), float(second[0]), value, low, high, p_value, verdict)


def _what_differs(first: StoredEvaluation, second: StoredEvaluation) -> str | None:
    if first.class_names != second.class_names:
        different = [pair for pair in zip(first.class_names, second.class_names, strict=False) if pair[0] != pair[1]]
        if different:
            return "the class names {!r} and {!r}".format(*different[0])
        return f"{len(first.class_names)} and {len(second.class_names)} classes"
    images, others = (list(map(_file_name, run.images)) for run in (first, second))
    if missing := sorted(set(images) ^ set(others)):
        return f"{len(missing)} images are in one of them only, such as {missing[0]}"
    if images != others or not np.array_equal(first.image_ids, second.image_ids):
        return "their images have other positions in the data set"
    ours, theirs = first.data, second.data
    for name in ("target_image_index", "target_labels", "target_crowd", "target_boxes"):
        values, other = getattr(ours, name), getattr(theirs, name)
        if len(values) != len(other):
            return f"{len(values)} and {len(other)} labels"
        is_other = ~(np.abs(values.astype(np.float64) - other) <= _SAME_BOX_PIXELS)
        if len(rows := np.nonzero(is_other)[0]):
            return f"the labels of {images[ours.target_image_index[rows[0]]]}"
    return None


def _file_name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]
