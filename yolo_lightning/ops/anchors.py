"""Anchors that suit the boxes of a data set: how well given ones do, and which would do better.

All functions are deterministic: the same boxes and seed give the same anchors, whatever the order of the images. An
anchor and a box are similar if their widths and heights differ by less than a factor, as in YOLOv5's target assignment.
Letters of shapes: N boxes · K anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["AnchorFit", "FittedAnchors", "box_sizes", "fit_anchors", "jitter_sizes", "measure_anchors"]

MAX_FITTED_BOXES = 20_000
"""Anchors are fitted to so many boxes at most, drawn at random: seconds for any data set."""

_MIN_SIDE = 2.0
_KMEANS_ITERATIONS = 30
_JITTER = 0.1
_MUTATION_PROBABILITY = 0.9
_MUTATION_SIGMA = 0.1

Sizes = npt.NDArray[np.float64]


class AnnotatedImages(Protocol):
    """What box sizes are read from, such as a data set."""

    def __len__(self) -> int:
        """Number of images."""

    def image_size(self, index: int) -> tuple[int, int]:
        """Size (height, width) of an image in pixels."""

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Boxes (n, 4) xyxy in pixels of the image, and their labels."""


@dataclass(frozen=True)
class AnchorFit:
    """How well anchors fit boxes.

    Args:
        best_possible_recall: Share of the boxes to which an anchor is similar; the others can never be learned.
        anchors_per_box: Mean number of anchors similar to a box.
    """

    best_possible_recall: float
    anchors_per_box: float

    def __str__(self) -> str:
        return f"best possible recall {self.best_possible_recall:.4f}, {self.anchors_per_box:.2f} anchors per box"


@dataclass(frozen=True)
class FittedAnchors:
    """Anchors made for boxes.

    Args:
        anchors_wh: (K, 2) width and height in pixels, by area.
        remark: What did not go as it should; empty if all went well.
    """

    anchors_wh: Sizes
    remark: str = ""


def box_sizes(images: AnnotatedImages, image_size: tuple[int, int]) -> Sizes:
    """Width and height of all boxes when each image just fits the size that the network sees.

    Args:
        images: Images and their boxes; no image is decoded.
        image_size: Size (height, width) in pixels.

    Returns:
        (N, 2) in pixels, sorted, so that the order of the images does not matter.
    """
    parts = [np.zeros((0, 2))]
    for index in range(len(images)):
        boxes = images.annotations(index)[0].astype(np.float64)
        if len(boxes):
            height, width = images.image_size(index)
            parts.append((boxes[:, 2:] - boxes[:, :2]) * min(image_size[0] / height, image_size[1] / width))
    sizes_wh = np.concatenate(parts)
    return np.asarray(sizes_wh[np.lexsort(sizes_wh.T)])


def jitter_sizes(sizes_wh: Sizes, seed: int = 0) -> Sizes:
    """Box sizes times random factors of 0.9 to 1.1, so that none lies on the edge of being similar by design.

    YOLOv5 draws a factor for each image; here it is one for each box, in the order of the sizes.

    Args:
        sizes_wh: (N, 2) as of :func:`box_sizes`.
        seed: Seed of the factors.
    """
    return sizes_wh * np.random.default_rng(seed).uniform(1 - _JITTER, 1 + _JITTER, (len(sizes_wh), 1))


def measure_anchors(sizes_wh: Sizes, anchors_wh: npt.ArrayLike, ratio_threshold: float = 4.0) -> AnchorFit:
    """How many boxes have a similar anchor, and how many such anchors they have.

    Args:
        sizes_wh: (N, 2) width and height of boxes.
        anchors_wh: (K, 2) width and height of anchors, or any shape of K pairs, in the same unit.
        ratio_threshold: Width and height of similar ones differ by less than this factor.

    Raises:
        ValueError: If there are no boxes.
    """
    if len(sizes_wh) == 0:
        raise ValueError("there are no boxes to measure the anchors on")
    has_anchor = np.zeros(len(sizes_wh), bool)
    num_similar = 0
    for ratio in _ratios(sizes_wh, np.asarray(anchors_wh, np.float64).reshape(-1, 2)):
        similar = ratio < ratio_threshold
        has_anchor |= similar
        num_similar += int(similar.sum())
    return AnchorFit(float(has_anchor.mean()), num_similar / len(sizes_wh))


def fit_anchors(
    sizes_wh: Sizes, num_anchors: int, ratio_threshold: float = 4.0, generations: int = 1000, seed: int = 0
) -> FittedAnchors:
    """Anchors for boxes by k-means of the sizes and a genetic search from there, as YOLOv5 finds them.

    Boxes of less than 2 pixels in both directions are left out. Of more than ``MAX_FITTED_BOXES`` a random sample is
    taken. Where k-means finds fewer groups than anchors, sizes of random boxes make up for them.

    Args:
        sizes_wh: (N, 2) width and height of boxes in pixels, sorted as :func:`box_sizes` does.
        num_anchors: Number of anchors K, all levels together.
        ratio_threshold: Width and height of box and similar anchor differ by less than this factor.
        generations: Rounds of the genetic search.
        seed: Seed of sample, k-means and search.

    Returns:
        The anchors, in hundredths of pixels.

    Raises:
        ValueError: If there are fewer boxes than anchors, or a number is out of range.
    """
    if num_anchors < 1 or generations < 0:
        raise ValueError(f"num_anchors {num_anchors} must be positive and generations {generations} not negative")
    sizes_wh = sizes_wh[(sizes_wh >= _MIN_SIDE).any(axis=1)]
    if len(sizes_wh) < num_anchors:
        raise ValueError(f"{len(sizes_wh)} boxes of at least 2 pixels are too few to fit {num_anchors} anchors to")
    generator = np.random.default_rng(seed)
    if len(sizes_wh) > MAX_FITTED_BOXES:
        chosen = generator.choice(len(sizes_wh), MAX_FITTED_BOXES, replace=False)
        sizes_wh = sizes_wh[np.sort(chosen)]
    anchors_wh = _kmeans(sizes_wh, num_anchors, generator)
    remark = ""
    if len(anchors_wh) < num_anchors:
        remark = f"k-means found {len(anchors_wh)} groups for {num_anchors} anchors; the rest started from random boxes"
        others = generator.choice(sizes_wh, num_anchors - len(anchors_wh))
        anchors_wh = np.concatenate((anchors_wh, others))
    anchors_wh = _evolve(np.maximum(anchors_wh, _MIN_SIDE), sizes_wh, ratio_threshold, generations, generator)
    return FittedAnchors(_by_area(anchors_wh.round(2)), remark)


def _kmeans(sizes_wh: Sizes, num_anchors: int, generator: np.random.Generator) -> Sizes:
    """Centres (at most K, 2) of groups of sizes; both directions count alike, whatever their spread."""
    from scipy.cluster.vq import kmeans  # takes a while to import

    deviation = sizes_wh.std(axis=0)
    deviation[deviation == 0] = 1
    centres, _ = kmeans(sizes_wh / deviation, num_anchors, iter=_KMEANS_ITERATIONS, rng=generator)
    return np.asarray(centres * deviation)


def _evolve(
    anchors_wh: Sizes, sizes_wh: Sizes, ratio_threshold: float, generations: int, generator: np.random.Generator
) -> Sizes:
    """Mutates all anchors at once and keeps what is fitter."""
    best = _fitness(anchors_wh, sizes_wh, ratio_threshold)
    for _ in range(generations):
        mutated = np.maximum(anchors_wh * _mutation(anchors_wh.shape, generator), _MIN_SIDE)
        fitness = _fitness(mutated, sizes_wh, ratio_threshold)
        if fitness > best:
            anchors_wh, best = mutated, fitness
    return anchors_wh


def _mutation(shape: tuple[int, ...], generator: np.random.Generator) -> Sizes:
    """Factors around 1, not all 1; one scale for all of them, so that steps are now small, now large."""
    while True:
        chosen = generator.random(shape) < _MUTATION_PROBABILITY
        steps = chosen * generator.random() * generator.standard_normal(shape) * _MUTATION_SIGMA
        factors = (steps + 1).clip(0.3, 3.0)
        if (factors != 1).any():
            return np.asarray(factors)


def _fitness(anchors_wh: Sizes, sizes_wh: Sizes, ratio_threshold: float) -> float:
    """Mean over the boxes of 1 / ratio to the most similar anchor; a box without a similar one counts 0."""
    closest = np.full(len(sizes_wh), np.inf)
    for ratio in _ratios(sizes_wh, anchors_wh):
        np.minimum(closest, ratio, out=closest)
    return float(np.where(closest < ratio_threshold, 1 / closest, 0).mean())


def _ratios(sizes_wh: Sizes, anchors_wh: Sizes) -> list[Sizes]:
    """For each anchor the factor (N,), at least 1, by which it and each box differ in width or height."""
    width, height = np.ascontiguousarray(sizes_wh.T)
    with np.errstate(divide="ignore"):  # a box without a width differs infinitely
        return [
            np.maximum(
                np.maximum(width / anchor_width, anchor_width / width),
                np.maximum(height / anchor_height, anchor_height / height),
            )
            for anchor_width, anchor_height in anchors_wh.tolist()
        ]


def _by_area(anchors_wh: Sizes) -> Sizes:
    return np.asarray(anchors_wh[np.argsort(anchors_wh.prod(axis=1), kind="stable")])
