"""Four training samples in one image of twice the size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from torch.utils.data import Dataset

from yolo_lightning.data.transforms import PADDING_VALUE
from yolo_lightning.types import ImageInfo, Sample, SampleKey

__all__ = ["GROUP_SIZE", "QuadSamples"]

GROUP_SIZE = 4
"""Samples that are joined."""


class QuadSamples(Dataset[Sample | None]):
    """Joins each four samples of a batch to one, as YOLOv5's quad collate does.

    With probability one half the first of the four, enlarged to twice its size, bilinearly; else a mosaic of two by
    two: the second below the first, the third to its right. Of a group that has fewer than four, because the batch ends
    or an image cannot be read, the free places are grey; YOLOv5 leaves such a group out.

    Args:
        samples: A data set of samples by key.
    """

    def __init__(self, samples: Dataset[Sample | None]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, key: SampleKey) -> Sample | None:
        """The joined sample of one key."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[Sample | None]:
        """The joined samples of a batch; None for a group of which no image can be read."""
        return [self._joined(keys[begin : begin + GROUP_SIZE]) for begin in range(0, len(keys), GROUP_SIZE)]

    def _joined(self, keys: Sequence[SampleKey]) -> Sample | None:
        samples = [sample for key in keys if (sample := self.samples[key]) is not None]
        if not samples:
            return None
        first = keys[0]
        # the last number tells this stream from that of the sample
        generator = np.random.default_rng((first.seed, first.epoch, first.index, first.repeat, 1))
        joined = _enlarged(samples[0]) if generator.random() < 0.5 else _tiled(samples)
        return replace(joined, num_samples=len(samples))


def _enlarged(sample: Sample) -> Sample:
    height, width = sample.image.shape[:2]
    image = cv2.resize(sample.image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    ratio, padding = sample.info.ratio, sample.info.padding
    info = replace(sample.info, ratio=(2 * ratio[0], 2 * ratio[1]), padding=(2 * padding[0], 2 * padding[1]))
    return Sample(np.asarray(image, np.uint8), 2 * sample.boxes, sample.labels, info)


def _tiled(samples: Sequence[Sample]) -> Sample:
    height, width = samples[0].image.shape[:2]
    image = np.full((2 * height, 2 * width, 3), PADDING_VALUE, np.uint8)
    boxes = []
    for position, sample in enumerate(samples):
        left, top = position // 2 * width, position % 2 * height
        image[top : top + height, left : left + width] = sample.image
        boxes.append(sample.boxes + np.array([left, top, left, top], np.float32))
    info: ImageInfo = samples[0].info  # it lies in the corner, where its own canvas began
    labels = np.concatenate([sample.labels for sample in samples])
    return Sample(image, np.concatenate(boxes), labels, info)
