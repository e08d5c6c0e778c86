"""The nouns that the rooms hand to each other.

Conventions, everywhere: boxes are ``xyxy`` in absolute pixels of the image they belong to, float32; sizes are
``(height, width)`` unless the name ends in ``_wh``; images are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Batch", "Detections", "FeatureInfo", "ImageInfo", "Sample", "SampleKey"]


@dataclass(frozen=True)
class FeatureInfo:
    """Describes a feature pyramid, fine to coarse.

    Args:
        channels: Number of channels of each level.
        strides: Pixels of the network input per cell of each level.

    Raises:
        ValueError: If the two differ in length.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"{len(self.channels)} channel counts but {len(self.strides)} strides")


@dataclass  # not frozen: Lightning's precision plugins rebuild the dataclasses inside a batch
class ImageInfo:
    """Where an image comes from and how it was fitted to the canvas.

    A point of the original maps to the canvas as ``x * ratio[1] + padding[0]``, ``y * ratio[0] + padding[1]``.

    Args:
        path: File, or a stable name for images that are no file.
        index: Position in the data set; unique in it.
        original_size: Size (height, width) in pixels after EXIF orientation.
        ratio: Resized over original size, (vertical, horizontal).
        padding: Pixels added at (left, top).
    """

    path: str
    index: int
    original_size: tuple[int, int]
    ratio: tuple[float, float] = (1.0, 1.0)
    padding: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, order=True)
class SampleKey:
    """All that a sample may depend on besides the data set: a sample is a pure function of this key.

    Args:
        index: Position in the data set.
        canvas: Size (height, width) of the image to make, in pixels.
        epoch: Training epoch; 0 in evaluation.
        seed: Seed of the run.
        mosaic: Whether the sample may be made of several images (mosaic, mixup, pasted objects); False in the last
            epochs of a run that ends on whole images.
        repeat: How often the image came before in this epoch; more than 0 only where sampling repeats images.
        pool: Images from which the further ones of a sample are taken; all if empty.
    """

    index: int
    canvas: tuple[int, int]
    epoch: int = 0
    seed: int = 0
    mosaic: bool = True
    repeat: int = 0
    pool: tuple[int, ...] = ()

    def generator(self) -> np.random.Generator:
        """A fresh random generator keyed by (seed, epoch, index, repeat); equal keys give equal streams."""
        return np.random.default_rng((self.seed, self.epoch, self.index, self.repeat))


@dataclass
class Sample:
    """One image with its labels.

    Args:
        image: (H, W, 3) uint8 RGB, EXIF orientation applied.
        boxes: (n, 4) float32 xyxy pixels of ``image``, clipped to it.
        labels: (n,) int64 class indices.
        info: Origin of the image.
        num_samples: Training samples that the image stands for; more than 1 where several were joined (``quad``).
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    info: ImageInfo
    num_samples: int = 1


@dataclass
class Batch:
    """Images of one size with the boxes of all of them in one table.

    Args:
        images: (B, 3, H, W) RGB; uint8 until on the device, then floating point in 0…1.
        boxes: (N, 4) float32 xyxy pixels of ``images``.
        labels: (N,) int64 class indices.
        image_index: (N,) int64 position in the batch of the image that a box belongs to, ascending.
        infos: B descriptions, one for each image.
        num_samples: Training samples that the images stand for, by which the loss is scaled; 0 means B.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    image_index: Tensor
    infos: list[ImageInfo]
    num_samples: int = 0

    def __post_init__(self) -> None:
        self.num_samples = self.num_samples or len(self.images)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    @classmethod
    def collate(cls, samples: Sequence[Sample]) -> Self:
        """Stacks samples of equal image size.

        Raises:
            ValueError: If there is no sample, or the image sizes differ.
        """
        if not samples:
            raise ValueError("cannot make a batch of no samples")
        sizes = {sample.image.shape for sample in samples}
        if len(sizes) > 1:
            raise ValueError(f"images of one batch must have one size, found {sorted(sizes)}")
        counts = [len(sample.labels) for sample in samples]
        images = torch.from_numpy(np.stack([sample.image for sample in samples]))
        return cls(
            images=images.permute(0, 3, 1, 2),
            boxes=torch.from_numpy(np.concatenate([sample.boxes for sample in samples])).float().reshape(-1, 4),
            labels=torch.from_numpy(np.concatenate([sample.labels for sample in samples])).long(),
            image_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
            infos=[sample.info for sample in samples],
            num_samples=sum(sample.num_samples for sample in samples),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch with its tensors on ``device``."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            boxes=self.boxes.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            image_index=self.image_index.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Self:
        """The batch with its tensors in page-locked memory; called by the data loader."""
        return replace(
            self,
            images=self.images.pin_memory(),
            boxes=self.boxes.pin_memory(),
            labels=self.labels.pin_memory(),
            image_index=self.image_index.pin_memory(),
        )


@dataclass
class Detections:
    """Detections, or labels, of one image; field names as in torchvision and torchmetrics.

    Args:
        boxes: (K, 4) float32 xyxy pixels.
        scores: (K,) float32 confidence in 0…1, descending.
        labels: (K,) int64 class indices.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The detections on ``device``."""
        return replace(
            self,
            boxes=self.boxes.to(device, non_blocking=non_blocking),
            scores=self.scores.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )
