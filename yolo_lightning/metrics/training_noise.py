"""What chance in training is worth, as far as a single run shows it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_lightning.metrics.matching import FloatArray

__all__ = ["training_noise"]

_MOST_SHARE = 4
_FEWEST_EPOCHS = 10
_LEAST_EPOCHS = 5


def training_noise(figures: Mapping[str, FloatArray]) -> dict[str, float]:
    """How far figures scatter from epoch to epoch about their trend, at the end of a training.

    Another seed moves them at least as far: networks of neighbouring epochs have most of their training in common.

    Args:
        figures: For each its (n,) values after the epochs; NaN where there was no validation.

    Returns:
        Standard deviation about a straight line through the last quarter of the values, or the last ten, if these are
        more; nothing for a figure with fewer than five values.
    """
    noise = {}
    for name, values in figures.items():
        last = values[np.isfinite(values)]
        last = last[-max(_FEWEST_EPOCHS, len(last) // _MOST_SHARE) :]
        if len(last) < _LEAST_EPOCHS:
            continue
        epochs = np.arange(len(last))
        residuals = last - np.polyval(np.polyfit(epochs, last, 1), epochs)
        noise[name] = float(np.sqrt((residuals**2).sum() / (len(last) - 2)))
    return noise
