"""How far the mean average precision would differ on other images of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_lightning.metrics.bootstrap import ImageBootstrap
from yolo_lightning.metrics.matching import EvaluationData, FloatArray
from yolo_lightning.metrics.resampling import FIGURES, resample_precision

__all__ = ["Interval", "percentile_interval", "precision_intervals"]

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

    Percentiles over samples of the images with replacement: what other images would change. What another training would
    change is not in it. A class of which a sample has no label is left out of its mean. One image gives an interval
    without width, which says nothing, and so does a data set without detections.

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
    return {name: Interval(float(everything[name][0]), *percentile_interval(samples[name])) for name in FIGURES}


def percentile_interval(samples: FloatArray) -> tuple[float, float]:
    """The central 95 % of the samples that are numbers; at least one must be."""
    tail = (1 - _LEVEL) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail]).tolist()
    return low, high
