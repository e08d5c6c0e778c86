"""The data of a run as a LightningDataModule: data sets, transforms, samplers and loaders put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Sampler

from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.base import DetectionDataset, SampleTransform
from yolo_lightning.data.canvases import training_canvases
from yolo_lightning.data.checks import check_positive, overlap, round_up
from yolo_lightning.data.datasets import TransformedDataset, YOLODataset
from yolo_lightning.data.fill import SplitCaches
from yolo_lightning.data.loaders import EvaluationLoader, collate_evaluation, collate_training, one_thread
from yolo_lightning.data.memory import available_cores
from yolo_lightning.data.prediction import prediction_dataset
from yolo_lightning.data.problems import DataError, Policy
from yolo_lightning.data.quad import GROUP_SIZE, QuadSamples
from yolo_lightning.data.samplers import EvaluationBatchSampler, TrainBatchSampler
from yolo_lightning.data.sampling import Sampling
from yolo_lightning.data.single_class import SingleClass
from yolo_lightning.data.transforms import Letterbox
from yolo_lightning.types import Sample, SampleKey

__all__ = ["DetectionDataModule"]

_EVAL_BATCH_SIZE = 32


class DetectionDataModule(LightningDataModule):
    """Training, validation and test data for a detector.

    A training sample is a function of (data set, seed, epoch, index, canvas) alone: the number of workers and processes
    changes which process makes it, never what it is. The Trainer needs ``use_distributed_sampler: false``, as the
    samplers share out the images themselves.

    Args:
        path: Where the data is, for instance a ``data.yaml``; handed to ``dataset``. For prediction also a folder of
            images, a text file that lists images, or an image.
        dataset: Makes one split, given ``path`` and ``train``, ``val`` or ``test``.
        train_transform: Makes the transform of training samples.
        eval_transform: Makes the transform of validation and test samples, given the image size (height, width).
        image_size: Size of the images that the network sees in pixels, one number or (height, width); rounded up to
            multiples of ``stride``.
        batch_size: Images in a training batch, all devices together; ``auto`` takes what memory suffices for, which the
            callback ``AutoBatch`` measures.
        eval_batch_size: Images in an evaluation batch, whole on one device; None means twice ``batch_size``; where that
            is ``auto``, twice one device's share, or 32 without training.
        num_workers: Processes that prepare batches, on each device; None takes one per core, eight at most.
        cache: Keep decoded images in memory (``ram``), one copy for all processes of a machine, or on disk (``disk``),
            also for later runs; training images at the training size. Before training all are read that there is room
            for; the others are decoded every time.
        cache_budget: GiB that the cache may take, all splits together; None takes 0.8 of the free memory, as far as the
            container's (cgroup's) limit allows it, or of the free disk.
        cache_directory: Folder of the disk cache; None takes the user's cache directory.
        canvas: Canvas of training samples: ``fixed``, ``image_size`` for all; ``rectangular``, images sorted by shape
            on canvases that suit them, without shuffling and mosaic, as YOLOv5's ``--rect``; ``buckets``, images of
            like shape together on canvases that fit into ``image_size``, with shuffling and mosaic.
        num_buckets: Most canvases of ``buckets``; None takes as many as there are images for.
        quad: Join each four samples of a batch to one image of twice the canvas: the first enlarged, or all four. The
            batch size must be a multiple of four times the number of devices.
        close_mosaic: Last epochs of the run without mosaic, mixup and pasted objects; the run's length is
            ``trainer.max_epochs``.
        sampling: Makes the rule by which images are chosen for an epoch, given the training images; None takes each
            once.
        single_class: Take all objects as one class.
        validate_split: Which images ``validate`` is about, training images without augmentation; ``fit`` validates on
            ``val`` all the same.
        predict_split: Which images ``predict`` is about.
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
        batch_size: int | Literal["auto"] = 16,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        cache: Literal["ram", "disk"] | None = None,
        cache_budget: float | None = None,
        cache_directory: Path | None = None,
        canvas: Literal["fixed", "rectangular", "buckets"] = "fixed",
        num_buckets: int | None = None,
        quad: bool = False,
        close_mosaic: int = 0,
        sampling: Callable[[DetectionDataset], Sampling] | None = None,
        single_class: bool = False,
        validate_split: Literal["train", "val", "test"] = "val",
        predict_split: Literal["train", "val", "test"] = "val",
        rectangular: bool = True,
        rectangular_padding: float = 0.5,
        stride: int = 32,
        seed: int | None = None,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__()
        check_positive(stride=stride, eval_batch_size=eval_batch_size, num_buckets=num_buckets)
        if batch_size != "auto":
            check_positive(batch_size=batch_size)
        if cache_budget is not None and cache_budget <= 0:
            raise DataError(f"cache_budget is {cache_budget} GiB; it must be positive")
        if close_mosaic < 0:
            raise DataError(f"close_mosaic is {close_mosaic}; it must not be negative")
        self.path = path
        self.image_size, rounded = round_up(image_size, stride)
        _warn(rounded)
        self.auto_batch_size = batch_size == "auto"
        self._batch_size = None if batch_size == "auto" else batch_size
        if eval_batch_size is None and batch_size != "auto":
            eval_batch_size = 2 * batch_size
        self._eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.cache = cache
        self.cache_budget = cache_budget
        self.cache_directory = cache_directory
        self.canvas = canvas
        self.num_buckets = num_buckets
        self.quad = quad
        self.close_mosaic = close_mosaic
        self.single_class = single_class
        self.validate_split = validate_split
        self.predict_split = predict_split
        self.rectangular = rectangular
        self.rectangular_padding = rectangular_padding
        self.stride = stride
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self._seed = seed
        self._dataset_factory = dataset
        self._train_transform = train_transform
        self._eval_transform = eval_transform
        self._sampling_factory = sampling
        self._sampling: Sampling | None = None
        self._average_precision: list[float] | None = None
        self._datasets: dict[str, DetectionDataset] = {}
        self._training_samples: TransformedDataset | None = None
        self._samples: dict[str, TransformedDataset] = {}
        self._split_caches: SplitCaches | None = None
        self._stage: str | None = None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, in the order of the labels; for YOLO data this only reads the yaml.

        None in the prediction of plain images, which have no names.
        """
        return tuple(self.dataset("predict" if self._stage == "predict" else "train").class_names) or None

    @property
    def seed(self) -> int:
        """Seed of shuffling and augmentation."""
        return self._seed if self._seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))

    @property
    def batch_size(self) -> int:
        """Images in a training batch, all devices together.

        Raises:
            DataError: If it is ``auto`` and has not been measured.
        """
        if self._batch_size is None:
            raise DataError(
                "batch_size is 'auto', and nothing has measured it: add the callback AutoBatch to the Trainer, or give "
                "a number"
            )
        return self._batch_size

    @property
    def eval_batch_size(self) -> int:
        """Images in an evaluation batch, whole on one device."""
        if self._eval_batch_size is not None:
            return self._eval_batch_size
        if self._batch_size is None:
            return _EVAL_BATCH_SIZE
        return 2 * self._batch_size // self._world_size  # what was measured is what one device has memory for

    def resolve_batch_size(self, batch_size: int) -> int:
        """Sets the batch size where it is ``auto``, as near below the one given as can be shared out; returns it."""
        share = self._world_size * self._group_size
        self._batch_size = max(batch_size // share, 1) * share
        self._clamp_batch_size(self._num_samples)
        return self._batch_size

    @property
    def num_training_batches(self) -> int:
        """Training batches of an epoch."""
        return ceil(self._num_samples / self.batch_size)

    @property
    def worker_times(self) -> npt.NDArray[np.float64]:
        """(workers, 2) seconds and training samples so far of each worker of this process."""
        return self._training().worker_times.totals()

    def dataset(self, split: str) -> DetectionDataset:
        """Images and labels of ``train``, ``val`` or ``test``, as they are on disk, but for ``single_class``.

        ``predict`` are the images of ``predict_split`` without labels.
        """
        if split not in self._datasets:
            if split == "predict":
                dataset = prediction_dataset(self._dataset_factory, self.path, self.predict_split)
            else:
                dataset = self._dataset_factory(self.path, split)
            self._datasets[split] = SingleClass(dataset) if self.single_class and dataset.class_names else dataset
        return self._datasets[split]

    def prepare_data(self) -> None:
        """Indexes the labels in one process of each machine, so that the others only open the index."""
        stage = self.trainer.state.fn if self.trainer is not None else None
        for split in self._splits(str(getattr(stage, "value", stage))):
            len(self.dataset(split))

    def setup(self, stage: str) -> None:
        """Opens the splits of ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            DataError: If a split is missing or cannot be used.
        """
        self._stage = stage
        for split in self._splits(stage):
            if stage == "fit" and split == "train":
                self._training()
            else:
                self._evaluated(split)
        if stage == "fit":
            if self._split_caches is not None and not getattr(self.trainer, "fast_dev_run", False):
                self._split_caches.fill(show=self._rank == 0)
            if self._batch_size is not None:
                self._clamp_batch_size(self._num_samples)
            _warn(overlap(self.dataset("train"), self.dataset("val")))

    def train_dataloader(self) -> DataLoader[Sample | None]:
        """Augmented batches, shuffled unless the canvas is ``rectangular``; this process's share."""
        dataset = self._training()
        sampler = TrainBatchSampler(
            len(dataset),
            self.batch_size,
            training_canvases(
                self.canvas,
                partial(_image_sizes, dataset.dataset),
                self.image_size,
                self.stride,
                num_buckets=self.num_buckets,
                batch_size=self.batch_size,
            ),
            sampling=self._make_sampling(),
            num_mosaic_epochs=self._num_mosaic_epochs,
            group_size=self._group_size,
            seed=self.seed,
            rank=self._rank,
            world_size=self._world_size,
        )
        samples = QuadSamples(dataset) if self.quad else dataset
        collate = partial(collate_training, canvas=self.image_size)
        return DataLoader(samples, collate_fn=collate, **self._options(sampler))

    def val_dataloader(self) -> DataLoader[Sample | None]:
        """Letterboxed batches of ``val``, or of ``validate_split`` in ``validate``; this process's share."""
        return self._evaluation_loader(self.validate_split if self._stage == "validate" else "val")

    def test_dataloader(self) -> DataLoader[Sample | None]:
        """Letterboxed batches of ``test``; this process's share."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample | None]:
        """Letterboxed batches of the images to predict, as in validation; this process's share."""
        return self._evaluation_loader("predict")

    def update_sampling(self, average_precision: Sequence[float]) -> None:
        """Tells ``sampling``, if there is one, how well each class was detected in the last validation."""
        if self._sampling_factory is not None:
            self._average_precision = list(average_precision)
            if self._sampling is not None:
                self._sampling.average_precision = self._average_precision

    def state_dict(self) -> dict[str, Any]:
        """What the order of the images depends on besides seed and epoch."""
        return {} if self._average_precision is None else {"average_precision": self._average_precision}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on as after the last validation of a resumed run."""
        if (average_precision := state_dict.get("average_precision")) is not None:
            self.update_sampling(average_precision)

    def _make_sampling(self) -> Sampling | None:
        if self._sampling is None and self._sampling_factory is not None:
            self._sampling = self._sampling_factory(self.dataset("train"))
            self._sampling.average_precision = self._average_precision
        return self._sampling

    def _evaluation_loader(self, split: str) -> DataLoader[Sample | None]:
        samples = self._evaluated(split)
        sampler = EvaluationBatchSampler(
            _image_sizes(samples.dataset),
            self.eval_batch_size,
            self.image_size,
            stride=self.stride,
            rectangular=self.rectangular,
            padding=self.rectangular_padding,
            rank=self._rank,
            world_size=self._world_size,
        )
        return EvaluationLoader(samples, collate_fn=collate_evaluation, **self._options(sampler))

    def _splits(self, stage: str) -> tuple[str, ...]:
        """The splits that a stage looks at."""
        splits = {
            "fit": ("train", "val"),
            "validate": (self.validate_split,),
            "test": ("test",),
            "predict": ("predict",),
        }
        return splits.get(stage, ())

    def _training(self) -> TransformedDataset:
        if self._training_samples is None:
            self._training_samples = self._open("train", training=True)
        return self._training_samples

    def _evaluated(self, split: str) -> TransformedDataset:
        if split not in self._samples:
            self._samples[split] = self._open(split, training=False)
        return self._samples[split]

    def _open(self, split: str, *, training: bool) -> TransformedDataset:
        dataset = self.dataset(split)
        policy: Policy = "strict" if getattr(dataset, "policy", None) == "strict" else "warn"
        if self.cache is not None and split != "predict":  # which reads each image once
            # evaluation keeps original pixels, so that its numbers are those without a cache
            dataset = self._caches(self.cache).open(dataset, self.image_size if training else None, split)
        transform = self._train_transform() if training else self._eval_transform(self.image_size)
        return TransformedDataset(dataset, transform, policy)

    def _caches(self, kind: Literal["ram", "disk"]) -> SplitCaches:
        if self._split_caches is None:
            budget = None if self.cache_budget is None else int(self.cache_budget * 2**30)
            self._split_caches = SplitCaches(kind, budget, self.cache_directory)
        return self._split_caches

    def _options(self, sampler: Sampler[list[SampleKey]]) -> dict[str, Any]:
        num_workers = self._num_workers
        return {
            "batch_sampler": sampler,
            "num_workers": num_workers,
            "pin_memory": self._pin_memory,
            "persistent_workers": self.persistent_workers and num_workers > 0,
            "worker_init_fn": one_thread,
        }

    def _clamp_batch_size(self, num_images: int) -> None:
        share = self._world_size * self._group_size
        size = max(num_images // share, 1) * share
        if num_images < self.batch_size > size:
            rank_zero_warn(
                f"batch_size {self.batch_size} is larger than the {num_images} training images: using {size}"
            )
            self._batch_size = size

    @property
    def _num_samples(self) -> int:
        sampling = self._make_sampling()
        return len(self.dataset("train")) if sampling is None else sampling.num_samples

    @property
    def _num_mosaic_epochs(self) -> int | None:
        if not self.close_mosaic or self.trainer is None or (self.trainer.max_epochs or -1) < 0:
            return None
        return max(0, int(self.trainer.max_epochs or 0) - self.close_mosaic)

    @property
    def _group_size(self) -> int:
        return GROUP_SIZE if self.quad else 1

    @property
    def _num_workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        processes = getattr(self.trainer, "num_devices", 1) if self.trainer is not None else 1
        return min(8, available_cores() // processes)

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


def _image_sizes(dataset: DetectionDataset) -> npt.NDArray[np.int64]:
    return np.array([dataset.image_size(index) for index in range(len(dataset))], np.int64).reshape(-1, 2)


def _warn(message: str | None) -> None:
    if message is not None:
        rank_zero_warn(message)
