"""How far the mean average precision would differ on other images of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.bootstrap import ImageBootstrap
from yolo_lightning.metrics.matching import EvaluationData, FloatArray
from yolo_lightning.metrics.resampling import FIGURES, resample_precision

__all__ = ["Interval", "centred", "percentile_interval", "precision_intervals"]

_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and its interval of 95 %.

    Args:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def precision_intervals(
    data: EvaluationData, *, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval | None]:
    """Intervals of 95 % of ``map``, ``map_50``, ``yolov5_map``, ``yolov5_map_50`` and ``fitness``.

    Percentiles over samples of the images with replacement, about the figure: what as many other images would change.
    What another training would change is not in it. A class of which a sample has no label is left out of its mean. One
    image gives an interval without width, which says nothing, and so does a data set without detections.

    Args:
        data: Detections and labels.
        num_resamples: Number of samples.
        seed: Seed of their drawing.

    Returns:
        For each figure its interval; None without any label.
    """
    everything = resample_precision(data, np.ones((1, data.num_images), dtype=np.int64)).figures
    if np.isnan(everything["map"][0]):
        return dict.fromkeys(FIGURES)
    counts = ImageBootstrap(data.num_images, num_resamples, seed).counts
    samples = resample_precision(data, counts).figures
    return {name: _interval(float(everything[name][0]), samples[name]) for name in FIGURES}


def centred(samples: FloatArray, value: float) -> FloatArray:
    """The samples that are numbers, moved so that their median is the value.

    A sample has images twice, so what is right comes in runs, and the highest precision at a recall or beyond, which
    AP is read from, is a little too high: by more than the interval is wide where classes are many and precision low.
    """
    valid = samples[~np.isnan(samples)]
    result: FloatArray = valid + (value - np.median(valid)) if len(valid) else valid
    return result


def percentile_interval(samples: FloatArray) -> tuple[float, float]:
    """The central 95 % of the samples, of which there is at least one."""
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(samples, [tail, 1 - tail]).tolist()
    return low, high


def _interval(value: float, samples: FloatArray) -> Interval:
    low, high = percentile_interval(centred(samples, value).clip(0, 1))
    return Interval(value, low, high)
