"""Batch samplers: which images, on which canvas, make each batch of each process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, cycle, islice, repeat
from math import ceil

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from yolo_lightning.data.canvases import Canvases, rectangular_canvas
from yolo_lightning.data.sampling import Sampling
from yolo_lightning.types import SampleKey

__all__ = ["EvaluationBatchSampler", "TrainBatchSampler"]

_POOL_SIZE = 32  # more than the 17 further images that a mosaic of nine with mixup has


class TrainBatchSampler(Sampler[list[SampleKey]]):
    """The batches of each epoch; a function of (seed, epoch), and the same on any number of processes.

    Process r takes images r, r + W, … of each batch of the whole run. The short last batch is kept; if it has fewer
    images than there are processes, it is repeated until each has one.

    Args:
        num_images: Size of the data set.
        batch_size: Images in a batch of all processes together.
        canvases: Puts the images of an epoch into batches.
        sampling: Chooses the images of an epoch; None takes each once.
        num_mosaic_epochs: Epochs with mosaics, from the first; None has them in all.
        group_size: Images of a batch that follow each other and go to the same process.
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
        canvases: Canvases,
        *,
        sampling: Sampling | None = None,
        num_mosaic_epochs: int | None = None,
        group_size: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_images < 1:
            raise ValueError("there are no training images")
        if batch_size < 1 or batch_size % (world_size * group_size):
            share = f"among {world_size}" + (f" in groups of {group_size}" if group_size > 1 else "")
            raise ValueError(
                f"batch_size counts the images of all processes together: {batch_size} cannot be shared out {share}; "
                f"use a multiple of {world_size * group_size}"
            )
        self.num_images = num_images
        self.num_samples = num_images if sampling is None else sampling.num_samples
        self.batch_size = batch_size
        self.canvases = canvases
        self.sampling = sampling
        self.num_mosaic_epochs = num_mosaic_epochs
        self.group_size = group_size
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
        return ceil(self.num_samples / self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch = self.epoch
        # the third number tells this stream from those of the samples, which have an index below it
        generator = np.random.default_rng((self.seed, epoch, self.num_images))
        images = np.arange(self.num_images) if self.sampling is None else self.sampling.draw(generator)
        mosaic = self.canvases.mosaic and (self.num_mosaic_epochs is None or epoch < self.num_mosaic_epochs)
        pools = _pools(images, (self.seed, epoch, self.num_images, 1)) if self.sampling else repeat(())
        seen: Counter[int] = Counter()
        for batch, canvas in self.canvases.batches(images, self.batch_size, generator):
            keys = []
            for index in batch.tolist():
                keys.append(SampleKey(index, canvas, epoch, self.seed, mosaic, seen[index], next(pools)))
                seen[index] += 1
            yield self._share(keys)

    def _share(self, keys: list[SampleKey]) -> list[SampleKey]:
        """What this process takes of a batch: every W-th group."""
        groups = [keys[begin : begin + self.group_size] for begin in range(0, len(keys), self.group_size)]
        if len(groups) < self.world_size:
            groups = list(islice(cycle(groups), self.world_size))
        return list(chain.from_iterable(groups[self.rank :: self.world_size]))


def _pools(images: npt.NDArray[np.int64], key: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """For each sample some images of the epoch, from which the other images of a mosaic are taken."""
    generator = np.random.default_rng(key)
    while True:
        yield tuple(images[generator.integers(len(images), size=_POOL_SIZE)].tolist())


class EvaluationBatchSampler(Sampler[list[SampleKey]]):
    """Batches for evaluation, by default rectangular: of images of like shape, on the smallest canvas that suits them.

    Whole batches are shared out, process r takes batches r, r + W, …, without padding: every batch has the same images
    on any number of processes, and one process may have a batch more than another, or none. An image index occurs
    once, so the first index of a batch (``batch.infos[0].index``) tells it from all others.

    Args:
        sizes: (n, 2) height and width of the images in pixels.
        batch_size: Images in each batch.
        image_size: Nominal size (height, width) in pixels, which images are fitted to.
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
            rectangular_canvas(ratios[batch], image_size, stride, padding) if rectangular else image_size
            for batch in self._batches
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch, canvas in zip(self._batches, self._canvases, strict=True):
            yield [SampleKey(index, canvas) for index in batch.tolist()]
