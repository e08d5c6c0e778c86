"""How far a share would differ on other images: samples of the images with replacement.

Images are drawn rather than detections, since those of one image are right or wrong together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from yolo_lightning.metrics.matching import FloatArray, IntArray

__all__ = ["ImageBootstrap", "share_interval"]

_LEVEL = 0.95
# Normal quantile of the level, for Wilson's interval.
_Z = 1.959963984540054
# Bounds the memory of a product, in elements.
_BLOCK = 1 << 24

Float32Array = npt.NDArray[np.float32]


class ImageBootstrap:
    """Sums over samples of images, drawn with replacement, each of as many images as there are.

    Args:
        num_images: Number of images, 1 or more.
        num_resamples: Number of samples.
        seed: Seed of their drawing.
    """

    def __init__(self, num_images: int, num_resamples: int = 1000, seed: int = 0) -> None:
        self.num_images = num_images
        self.num_resamples = num_resamples
        generator = np.random.default_rng(seed)
        # (images, samples) how often each sample has an image. No count comes near the limit of 16 bits.
        self._counts = np.empty((num_images, num_resamples), dtype=np.uint16)
        for sample in range(num_resamples):
            drawn = generator.integers(num_images, size=num_images)
            self._counts[:, sample] = np.bincount(drawn, minlength=num_images)

    @property
    def counts(self) -> IntArray:
        """(samples, images) how often each sample has each image."""
        return np.ascontiguousarray(self._counts.T, dtype=np.int64)

    def sums(self, rows: IntArray, images: IntArray, num_rows: int) -> Float32Array:
        """Counts events in every sample.

        Args:
            rows: (E,) row in which each event counts.
            images: (E,) image of each event.
            num_rows: Number of rows.

        Returns:
            (rows, samples) counts, exact up to 2²⁴.
        """
        used, position = np.unique(images, return_inverse=True)
        ones = np.ones(len(rows), dtype=np.float32)
        events = csr_array((ones, (rows, position)), shape=(num_rows, len(used)))
        sums = np.zeros((num_rows, self.num_resamples), dtype=np.float32)
        step = max(1, _BLOCK // max(1, len(used)))
        for start in range(0, self.num_resamples if len(used) else 0, step):
            part = slice(start, start + step)
            sums[:, part] = events @ self._counts[used, part].astype(np.float32)
        return sums


def share_interval(
    successes: IntArray, trials: IntArray, resampled_successes: Float32Array, resampled_trials: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """Interval of 95 % of shares: that of the samples, widened to Wilson's where it is narrower.

    Samples alone say nothing where all is right or all is wrong: one detection that is right would have precision 1
    with certainty. Wilson's interval (https://doi.org/10.1080/01621459.1927.10502953) knows the number of trials, but
    takes them for independent, which the objects of an image are not.

    Args:
        successes: (M,) number of successes.
        trials: (M,) number of trials; without any, the interval is 0…1.
        resampled_successes: (M, samples) the same in each sample.
        resampled_trials: (M, samples) or (samples,).

    Returns:
        Lower and upper ends, (M,) each.
    """
    low, high = _wilson(successes, trials)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.sort(np.divide(resampled_successes, resampled_trials, dtype=np.float64), axis=1)
    valid = (~np.isnan(shares)).sum(axis=1)  # those that are not numbers come last
    tail = np.floor((1 - _LEVEL) / 2 * valid).astype(np.int64)
    rows = np.flatnonzero(valid)
    low[rows] = np.minimum(low[rows], shares[rows, tail[rows]])
    high[rows] = np.maximum(high[rows], shares[rows, valid[rows] - 1 - tail[rows]])
    return low, high


def _wilson(successes: IntArray, trials: IntArray) -> tuple[FloatArray, FloatArray]:
    count = np.maximum(trials, 1)
    share, spread = successes / count, _Z**2 / count
    centre = share + spread / 2
    half = np.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    empty = trials == 0
    return np.where(empty, 0.0, low.clip(0, 1)), np.where(empty, 1.0, high.clip(0, 1))
