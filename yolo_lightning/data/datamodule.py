"""The data of a run as a LightningDataModule: data sets, transforms, samplers and loaders put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Sampler

from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.base import DetectionDataset, SampleTransform
from yolo_lightning.data.cache import cached_on_node
from yolo_lightning.data.datasets import TransformedDataset, YOLODataset
from yolo_lightning.data.problems import DataError, Policy
from yolo_lightning.data.samplers import EvaluationBatchSampler, TrainBatchSampler
from yolo_lightning.data.transforms import PADDING_VALUE, Letterbox
from yolo_lightning.types import Batch, ImageInfo, Sample, SampleKey

__all__ = ["DetectionDataModule"]

_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("val",)}


class DetectionDataModule(LightningDataModule):
    """Training, validation and test data for a detector.

    A training sample is a function of (data set, seed, epoch, index) alone: the number of workers and processes changes
    which process makes it, never what it is. The Trainer needs ``use_distributed_sampler: false``, as the samplers
    share out the images themselves.

    Args:
        path: Where the data is, for instance a ``data.yaml``; handed to ``dataset``.
        dataset: Makes one split, given ``path`` and ``train``, ``val`` or ``test``.
        train_transform: Makes the transform of training samples.
        eval_transform: Makes the transform of validation and test samples, given the image size (height, width).
        image_size: Size of the images that the network sees in pixels, one number or (height, width); rounded up to
            multiples of ``stride``.
        batch_size: Images in a training batch, all devices together.
        eval_batch_size: Images in an evaluation batch, whole on one device; None means twice ``batch_size``.
        num_workers: Processes that prepare batches, on each device; None takes one per core, eight at most.
        cache: Keep decoded images in memory (``ram``) or on disk (``disk``); training images at the training size.
        rectangular: Evaluate images of like shape together on a canvas that suits them, instead of on squares.
        rectangular_padding: Strides added around such a canvas before it is rounded up.
        stride: Coarsest stride of the network; 64 for the P6 models.
        seed: Seed of shuffling and augmentation; None takes that of ``seed_everything``, or 0.
        pin_memory: Copy batches to page-locked memory; None does so if the device is a GPU.
        persistent_workers: Keep the workers from epoch to epoch.

    Raises:
        DataError: If a number is out of range.
    """

    def __init__(
        self,
        path: Path | None = None,
        dataset: Callable[[Path | None, str], DetectionDataset] = YOLODataset,
        train_transform: Callable[[], SampleTransform] = YOLOv5Augmentation,
        eval_transform: Callable[[tuple[int, int]], SampleTransform] = Letterbox,
        image_size: int | tuple[int, int] = 640,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        cache: Literal["ram", "disk"] | None = None,
        rectangular: bool = True,
        rectangular_padding: float = 0.5,
        stride: int = 32,
        seed: int | None = None,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__()
        _check_positive(batch_size=batch_size, stride=stride)
        if eval_batch_size is not None:
            _check_positive(eval_batch_size=eval_batch_size)
        self.path = path
        self.image_size = _round_up(image_size, stride)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size if eval_batch_size is not None else 2 * batch_size
        self.num_workers = num_workers
        self.cache = cache
        self.rectangular = rectangular
        self.rectangular_padding = rectangular_padding
        self.stride = stride
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self._seed = seed
        self._dataset_factory = dataset
        self._train_transform = train_transform
        self._eval_transform = eval_transform
        self._datasets: dict[str, DetectionDataset] = {}
        self._samples: dict[str, TransformedDataset] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; for YOLO data this only reads the yaml."""
        return tuple(self.dataset("train").class_names)

    @property
    def seed(self) -> int:
        """Seed of shuffling and augmentation."""
        return self._seed if self._seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))

    @property
    def num_training_batches(self) -> int:
        """Training batches of an epoch."""
        return ceil(len(self.dataset("train")) / self.batch_size)

    def dataset(self, split: str) -> DetectionDataset:
        """Images and labels of ``train``, ``val`` or ``test``, as they are on disk."""
        if split not in self._datasets:
            self._datasets[split] = self._dataset_factory(self.path, split)
        return self._datasets[split]

    def prepare_data(self) -> None:
        """Indexes the labels in one process of each machine, so that the others only open the index."""
        stage = self.trainer.state.fn if self.trainer is not None else None
        for split in _SPLITS.get(str(getattr(stage, "value", stage)), ()):
            len(self.dataset(split))

    def setup(self, stage: str) -> None:
        """Opens the splits of ``fit``, ``validate``, ``test`` or ``predict`` (which takes ``val``).

        Raises:
            DataError: If a split is missing or cannot be used.
        """
        for split in _SPLITS[stage]:
            if split not in self._samples:
                self._samples[split] = self._open(split)
        if stage == "fit":
            self._clamp_batch_size(len(self.dataset("train")))
            self._check_overlap()

    def train_dataloader(self) -> DataLoader[Sample | None]:
        """Shuffled, augmented batches; this process's share."""
        sampler = TrainBatchSampler(
            len(self._split("train")),
            self.batch_size,
            self.image_size,
            seed=self.seed,
            rank=self._rank,
            world_size=self._world_size,
        )
        return DataLoader(
            collate_fn=partial(_collate_training, canvas=self.image_size), **self._options("train", sampler)
        )

    def val_dataloader(self) -> DataLoader[Sample | None]:
        """Letterboxed batches of ``val``; this process's share."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Sample | None]:
        """Letterboxed batches of ``test``; this process's share."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample | None]:
        """The same batches as in validation."""
        return self._evaluation_loader("val")

    def _evaluation_loader(self, split: str) -> DataLoader[Sample | None]:
        dataset = self._split(split).dataset
        sampler = EvaluationBatchSampler(
            np.array([dataset.image_size(index) for index in range(len(dataset))], np.int64).reshape(-1, 2),
            self.eval_batch_size,
            self.image_size,
            stride=self.stride,
            rectangular=self.rectangular,
            padding=self.rectangular_padding,
            rank=self._rank,
            world_size=self._world_size,
        )
        return _EvaluationLoader(collate_fn=_collate_evaluation, **self._options(split, sampler))

    def _open(self, split: str) -> TransformedDataset:
        dataset = self.dataset(split)
        training = split == "train"
        policy: Policy = "strict" if getattr(dataset, "policy", None) == "strict" else "warn"
        if self.cache is not None:
            # evaluation keeps original pixels, so that its numbers are those without a cache
            dataset = cached_on_node(dataset, self.image_size if training else None, self.cache)
        transform = self._train_transform() if training else self._eval_transform(self.image_size)
        return TransformedDataset(dataset, transform, policy)

    def _split(self, split: str) -> TransformedDataset:
        if split not in self._samples:
            self._samples[split] = self._open(split)
        return self._samples[split]

    def _options(self, split: str, sampler: Sampler[list[SampleKey]]) -> dict[str, Any]:
        num_workers = self._num_workers
        return {
            "dataset": self._split(split),
            "batch_sampler": sampler,
            "num_workers": num_workers,
            "pin_memory": self._pin_memory,
            "persistent_workers": self.persistent_workers and num_workers > 0,
            "worker_init_fn": _one_thread,
        }

    def _clamp_batch_size(self, num_images: int) -> None:
        if self.batch_size <= num_images:
            return
        size = max(num_images // self._world_size, 1) * self._world_size
        rank_zero_warn(f"batch_size {self.batch_size} is larger than the {num_images} training images: using {size}")
        self.batch_size = size

    def _check_overlap(self) -> None:
        train, val = self.dataset("train"), self.dataset("val")
        shared = {train.path(index) for index in range(len(train))} & {val.path(index) for index in range(len(val))}
        if shared:
            rank_zero_warn(
                f"{len(shared)} of {len(val)} validation images are training images too (such as {min(shared)}): "
                "validation will look better than it is"
            )

    @property
    def _num_workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        processes = getattr(self.trainer, "num_devices", 1) if self.trainer is not None else 1
        return min(8, _num_cores() // processes)

    @property
    def _pin_memory(self) -> bool:
        if self.pin_memory is not None:
            return self.pin_memory
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


class _EvaluationLoader(DataLoader[Sample | None]):
    """Passes over batches of which no image could be read; evaluation does not need equal counts on all ranks.

    Its length is at least 1, because Lightning skips the whole evaluation, hooks and all, on a rank whose loader has
    length 0, and the others would wait for it when they combine their numbers. Yielding less than that is no problem.
    """

    def __len__(self) -> int:
        return max(1, super().__len__())

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return (batch for batch in super().__iter__() if batch is not None)


def _collate_evaluation(samples: Sequence[Sample | None]) -> Batch | None:
    readable = [sample for sample in samples if sample is not None]
    return Batch.collate(readable) if readable else None


def _collate_training(samples: Sequence[Sample | None], canvas: tuple[int, int]) -> Batch:
    # A step without images is not possible while other ranks wait for its gradients, so a batch of which nothing could
    # be read becomes one grey image without objects.
    return _collate_evaluation(samples) or Batch.collate([_blank(canvas)])


def _blank(canvas: tuple[int, int]) -> Sample:
    image = np.full((*canvas, 3), PADDING_VALUE, np.uint8)
    info = ImageInfo("<no image of this batch could be read>", -1, canvas)
    return Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), info)


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # the workers themselves are the parallelism


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise DataError(f"{name} is {value}; it must be positive")


def _round_up(image_size: int | Sequence[int], stride: int) -> tuple[int, int]:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    _check_positive(image_size=min(height, width))
    rounded = (ceil(height / stride) * stride, ceil(width / stride) * stride)
    if rounded != (height, width):
        rank_zero_warn(f"image_size {image_size} is not a multiple of the stride {stride}: using {rounded}")
    return rounded
