"""How the images of an epoch become batches, and the size of the samples of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "BucketCanvases",
    "Canvases",
    "FixedCanvas",
    "RectangularCanvases",
    "bucket_canvases",
    "rectangular_canvas",
    "training_canvases",
]

Indices = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]
Size = tuple[int, int]


class Canvases(Protocol):
    """Puts the images of an epoch into batches of one canvas each.

    All batches are full but one, so that their number depends on that of the images alone.

    Attributes:
        mosaic: Whether the samples may be mosaics.
    """

    mosaic: bool

    def batches(
        self, images: Indices, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Indices, Size]]:
        """Images and canvas (height, width) of each batch.

        Args:
            images: (n,) the images of the epoch, by position in the data set.
            batch_size: Images in a batch.
            generator: Random numbers, the same on all processes.
        """


class FixedCanvas(Canvases):
    """Shuffled images on one canvas.

    Args:
        size: Size (height, width) of the samples in pixels.
    """

    mosaic = True

    def __init__(self, size: Size) -> None:
        self.size = size

    def batches(
        self, images: Indices, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Indices, Size]]:
        """See `Canvases.batches`."""
        for batch in _split(generator.permutation(images), batch_size):
            yield batch, self.size


class RectangularCanvases(Canvases):
    """Images sorted by shape, each batch on the smallest canvas that suits it; no shuffling and no mosaic.

    As YOLOv5 does with ``--rect``: from the flattest images to the narrowest, the same batches in every epoch.

    Args:
        sizes: (n, 2) height and width of the images in pixels.
        image_size: Size (height, width) that images are fitted to, in pixels.
        stride: Sides of a canvas are multiples of it.
    """

    mosaic = False

    def __init__(self, sizes: Indices, image_size: Size, stride: int) -> None:
        self.ratios = sizes[:, 0] / sizes[:, 1]
        self.image_size = image_size
        self.stride = stride

    def batches(
        self, images: Indices, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Indices, Size]]:
        """See `Canvases.batches`."""
        order = images[np.argsort(self.ratios[images], kind="stable")]
        for batch in _split(order, batch_size):
            yield batch, rectangular_canvas(self.ratios[batch], self.image_size, self.stride, 0.0)


class BucketCanvases(Canvases):
    """Batches of images of like shape in random order, with mosaic.

    An image belongs to the canvas nearest to its shape. Images are shuffled within their bucket, and batches as a
    whole. What is left of a bucket is filled up with images of the next, flattest to narrowest; such a batch takes the
    canvas of the greater part.

    Args:
        sizes: (n, 2) height and width of the images in pixels.
        canvases: Size (height, width) of each bucket's samples in pixels.
    """

    mosaic = True

    def __init__(self, sizes: Indices, canvases: Sequence[Size]) -> None:
        self.canvases = sorted(canvases, key=_ratio)
        self.buckets = _nearest(sizes[:, 0] / sizes[:, 1], self.canvases)

    def batches(
        self, images: Indices, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Indices, Size]]:
        """See `Canvases.batches`."""
        order = generator.permutation(images)
        batches = _split(order[np.argsort(self.buckets[order], kind="stable")], batch_size)
        for number in generator.permutation(len(batches)).tolist():
            batch = batches[number]
            yield batch, self.canvases[int(np.bincount(self.buckets[batch]).argmax())]


def training_canvases(
    kind: Literal["fixed", "rectangular", "buckets"],
    sizes: Callable[[], Indices],
    image_size: Size,
    stride: int,
    *,
    num_buckets: int | None = None,
    batch_size: int = 1,
) -> Canvases:
    """The canvases of a training run.

    Args:
        kind: One canvas; rectangular ones; or buckets.
        sizes: Gives (n, 2) height and width of the images in pixels.
        image_size: Size (height, width) that images are fitted to, in pixels.
        stride: Sides of a canvas are multiples of it.
        num_buckets: Most buckets; None allows those that fill at least four batches, so that few batches are mixed.
        batch_size: Images in a batch.
    """
    if kind == "fixed":
        return FixedCanvas(image_size)
    if kind == "rectangular":
        return RectangularCanvases(sizes(), image_size, stride)
    canvases = bucket_canvases(sizes(), image_size, stride, num_buckets=num_buckets, min_images=4 * batch_size)
    return BucketCanvases(sizes(), canvases)


def bucket_canvases(
    sizes: Indices, image_size: Size, stride: int, *, num_buckets: int | None = None, min_images: int = 1
) -> list[Size]:
    """The canvases of a data set's buckets, flattest first.

    Begins with one for each canvas that an image alone would have, and dissolves that with the fewest images into its
    neighbours until the limit holds.

    Args:
        sizes: (n, 2) height and width of the images in pixels.
        image_size: Size (height, width) that images are fitted to, in pixels.
        stride: Sides of a canvas are multiples of it.
        num_buckets: Most buckets; None limits their size instead.
        min_images: Fewest images in a bucket, where ``num_buckets`` is None.
    """
    ratios = sizes[:, 0] / sizes[:, 1]
    canvases = sorted({rectangular_canvas([ratio], image_size, stride, 0.0) for ratio in np.unique(ratios)}, key=_ratio)
    while len(canvases) > 1:
        counts = np.bincount(_nearest(ratios, canvases), minlength=len(canvases))
        if (len(canvases) <= num_buckets) if num_buckets is not None else (counts.min() >= min_images):
            break
        del canvases[int(counts.argmin())]
    return canvases


def rectangular_canvas(
    ratios: npt.NDArray[np.float64] | Sequence[float], image_size: int | Size, stride: int, padding: float
) -> Size:
    """Canvas (height, width) of a batch, as YOLOv5 chooses it: as flat or as narrow as its least extreme image allows.

    Args:
        ratios: Height over width of each image.
        image_size: Size (height, width) that images are fitted to, or one number for both, in pixels before padding.
        stride: The sides are multiples of it.
        padding: Strides added to each side before rounding up.
    """
    limit = (image_size, image_size) if isinstance(image_size, int) else image_size
    low, high = min(ratios), max(ratios)
    shape = limit[0] / limit[1]
    fitted: tuple[float, float] = limit
    if high < shape:
        fitted = (high * limit[1], limit[1])
    elif low > shape:
        fitted = (limit[0], 1 / low * limit[0])
    height, width = (ceil(side / stride + padding) * stride for side in fitted)
    return height, width


def _split(images: Indices, batch_size: int) -> list[Indices]:
    return [images[begin : begin + batch_size] for begin in range(0, len(images), batch_size)]


def _nearest(ratios: Ratios, canvases: Sequence[Size]) -> Indices:
    """Position of the canvas nearest to each ratio; a factor counts alike whichever side it stretches."""
    logarithms = np.log([_ratio(canvas) for canvas in canvases])
    borders = (logarithms[1:] + logarithms[:-1]) / 2
    return np.searchsorted(borders, np.log(ratios)).astype(np.int64)


def _ratio(canvas: Size) -> float:
    return canvas[0] / canvas[1]
