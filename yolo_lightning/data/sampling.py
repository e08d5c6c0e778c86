"""Which images an epoch has, and how often: for data whose classes are of very different frequency.

Images are chosen before batches are shared out among processes, so that the choice is the same on any number of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.base import DetectionDataset

__all__ = ["ClassBalancedSampling", "RepeatFactorSampling", "Sampling"]

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Sampling(ABC):
    """Chooses the images of each epoch. Subclass it for a rule of your own.

    An image that comes again in an epoch is augmented anew. The further images of a mosaic are drawn from those of the
    epoch, each as often as it comes.

    Attributes:
        num_samples: Images in an epoch; the same in every epoch.
        average_precision: Of each class in the last validation, 0…1, NaN where a class had no label; None before.
    """

    num_samples: int
    average_precision: Sequence[float] | None = None

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Indices:
        """The images of an epoch (num_samples,), in any order.

        Args:
            generator: Random numbers, keyed by seed and epoch and the same on all processes.
        """


class RepeatFactorSampling(Sampling):
    """Repeats images of rare classes, by the rule of LVIS (https://arxiv.org/abs/1908.03195).

    A class that occurs in the fraction f of the images has the factor max(1, √(threshold / f)); an image has that of
    its rarest class, and background 1. Every image comes in every epoch. The fractional part of a factor is a chance to
    come once more, and these chances are drawn together (systematic sampling), so that all epochs have the same length:
    the sum of the factors, rounded; a factor holds on average to within that rounding.

    Args:
        dataset: The training images.
        threshold: Classes in a smaller fraction of the images than this are repeated.

    Raises:
        ValueError: If the threshold is not in 0…1.
    """

    def __init__(self, dataset: DetectionDataset, threshold: float = 0.001) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"sampling.threshold is {threshold}; it must be above 0 and at most 1")
        self.factors = _repeat_factors(dataset, threshold)
        self._whole = np.floor(self.factors).astype(np.int64)
        self._parts = self.factors - self._whole
        self._num_extra = round(float(self._parts.sum()))
        self.num_samples = int(self._whole.sum()) + self._num_extra

    def draw(self, generator: np.random.Generator) -> Indices:
        """See `Sampling.draw`."""
        order = generator.permutation(len(self._parts))
        offset = generator.random()
        counts = self._whole.copy()
        if self._num_extra:
            # A point at each whole number, seen from a random offset: an image is met with the chance of its part.
            ends = np.cumsum(self._parts[order])
            ends *= self._num_extra / ends[-1]
            ends[-1] = self._num_extra  # exactly, so that no rounding changes the number of images
            counts[order] += np.diff(np.floor(ends + offset), prepend=0.0).astype(np.int64)
        return np.repeat(np.arange(len(counts)), counts)


class ClassBalancedSampling(Sampling):
    """Draws images with rare or badly detected classes more often, as YOLOv5 does with ``--image-weights``.

    The weight of a class is the inverse of its number of boxes, times (1 − AP)² of the last validation (0 before the
    first; the mean of the others for a class that has no validation label); the weight of an image is the sum over its
    boxes. An epoch has as many images as the data set, drawn with replacement: some come several times and others,
    such as background, not at all. With rectangular canvases, too, images are drawn.

    Args:
        dataset: The training images.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        self.num_samples = len(dataset)
        self._images, self._labels = _flat_labels(dataset)
        counts = np.bincount(self._labels, minlength=len(dataset.class_names))
        inverse = 1 / np.maximum(counts, 1)
        self._class_weights: Floats = inverse / inverse.sum()

    @property
    def image_weights(self) -> Floats:
        """Chance of each image to be drawn next; the sum is 1."""
        precision = self._precision()
        weights = self._class_weights * (1 - precision) ** 2
        totals = np.zeros(self.num_samples)
        np.add.at(totals, self._images, weights[self._labels])
        if not totals.any():  # no boxes, or all classes are perfect
            totals = np.ones(self.num_samples)
        chances: Floats = totals / totals.sum()
        return chances

    def draw(self, generator: np.random.Generator) -> Indices:
        """See `Sampling.draw`."""
        return generator.choice(self.num_samples, self.num_samples, p=self.image_weights)

    def _precision(self) -> Floats:
        if self.average_precision is None:
            return np.zeros(len(self._class_weights))
        precision = np.asarray(self.average_precision, np.float64)
        known = precision[~np.isnan(precision)]
        return np.nan_to_num(precision, nan=float(known.mean()) if known.size else 0.0)


def _flat_labels(dataset: DetectionDataset) -> tuple[Indices, Indices]:
    """Image and label of every box of a data set."""
    labels = [dataset.annotations(index)[1] for index in range(len(dataset))]
    counts = [len(own) for own in labels]
    return np.repeat(np.arange(len(labels)), counts), np.concatenate([np.zeros(0, np.int64), *labels])


def _repeat_factors(dataset: DetectionDataset, threshold: float) -> Floats:
    images, labels = _flat_labels(dataset)
    num_classes = len(dataset.class_names)
    pairs = np.unique(images * num_classes + labels)
    images, labels = pairs // num_classes, pairs % num_classes
    frequency = np.bincount(labels, minlength=num_classes) / max(1, len(dataset))
    class_factors = np.sqrt(np.maximum(1.0, threshold / np.maximum(frequency, 1e-12)))
    factors = np.ones(len(dataset))
    np.maximum.at(factors, images, class_factors[labels])
    return factors
