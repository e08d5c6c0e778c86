"""Batch samplers: which images, on which canvas, make each batch of each process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from yolo_lightning.types import SampleKey

__all__ = ["EvaluationBatchSampler", "TrainBatchSampler", "rectangular_canvas"]


class TrainBatchSampler(Sampler[list[SampleKey]]):
    """Shuffled batches; the order is a function of (seed, epoch) and is the same on any number of processes.

    Process r takes images r, r + W, … of each batch of the whole run. The short last batch is kept; if it has fewer
    images than there are processes, it is repeated until each has one.

    Args:
        num_images: Size of the data set.
        batch_size: Images in a batch of all processes together.
        canvas: Size (height, width) of the samples in pixels.
        seed: Seed of the run.
        rank: Which process this is.
        world_size: Number of processes.

    Raises:
        ValueError: If the batch cannot be shared out evenly, or there are no images.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        canvas: tuple[int, int],
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_images < 1:
            raise ValueError("there are no training images")
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size counts the images of all processes together: {batch_size} cannot be shared out among "
                f"{world_size}; use a multiple of {world_size}"
            )
        self.num_images = num_images
        self.batch_size = batch_size
        self.canvas = canvas
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def sampler(self) -> TrainBatchSampler:
        """Itself: where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch; takes effect with the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return ceil(self.num_images / self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch = self.epoch
        # the third number tells this stream from those of the samples, which have an index below it
        order = np.random.default_rng((self.seed, epoch, self.num_images)).permutation(self.num_images)
        for begin in range(0, self.num_images, self.batch_size):
            batch = order[begin : begin + self.batch_size]
            if len(batch) < self.world_size:
                batch = np.resize(batch, self.world_size)
            mine = batch[self.rank :: self.world_size].tolist()
            yield [SampleKey(index, self.canvas, epoch, self.seed) for index in mine]


class EvaluationBatchSampler(Sampler[list[SampleKey]]):
    """Batches for evaluation, by default rectangular: of images of like shape, on the smallest canvas that suits them.

    Whole batches are shared out, process r takes batches r, r + W, …, without padding: every batch has the same images
    on any number of processes, and one process may have a batch more than another, or none. An image index occurs
    once, so the first index of a batch (``batch.infos[0].index``) tells it from all others.

    Args:
        sizes: (n, 2) height and width of the images in pixels.
        batch_size: Images in each batch.
        image_size: Nominal size (height, width) in pixels.
        stride: Sides of a rectangular canvas are multiples of it.
        rectangular: Whether to sort by shape and fit the canvas; otherwise the order is that of the data set and the
            canvas is ``image_size``.
        padding: Strides added to each side of a rectangular canvas before rounding up.
        rank: Which process this is.
        world_size: Number of processes.
    """

    def __init__(
        self,
        sizes: npt.NDArray[np.int64],
        batch_size: int,
        image_size: tuple[int, int],
        *,
        stride: int = 32,
        rectangular: bool = True,
        padding: float = 0.5,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"the evaluation batch size must be positive, got {batch_size}")
        ratios = sizes[:, 0] / sizes[:, 1]
        order = np.argsort(ratios, kind="stable") if rectangular else np.arange(len(sizes))
        batches = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
        self._batches = batches[rank::world_size]
        self._canvases = [
            rectangular_canvas(ratios[batch], max(image_size), stride, padding) if rectangular else image_size
            for batch in self._batches
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch, canvas in zip(self._batches, self._canvases, strict=True):
            yield [SampleKey(index, canvas) for index in batch.tolist()]


def rectangular_canvas(
    ratios: npt.NDArray[np.float64] | Sequence[float], image_size: int, stride: int, padding: float
) -> tuple[int, int]:
    """Canvas (height, width) of a batch, as YOLOv5 chooses it: as flat or as narrow as its least extreme image allows.

    Args:
        ratios: Height over width of each image.
        image_size: Length of the longer side in pixels, before padding.
        stride: The sides are multiples of it.
        padding: Strides added to each side before rounding up.
    """
    low, high = min(ratios), max(ratios)
    shape = (high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0)
    height, width = (ceil(side * image_size / stride + padding) * stride for side in shape)
    return height, width
