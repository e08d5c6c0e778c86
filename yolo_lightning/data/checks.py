"""What the data of a run is checked for before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.problems import DataError

__all__ = ["check_positive", "overlap", "round_up"]


def check_positive(**values: int | None) -> None:
    """Refuses numbers below one; None passes.

    Raises:
        DataError: With the name of the number.
    """
    for name, value in values.items():
        if value is not None and value < 1:
            raise DataError(f"{name} is {value}; it must be positive")


def round_up(image_size: int | Sequence[int], stride: int) -> tuple[tuple[int, int], str | None]:
    """Height and width as multiples of the stride, and what is to be said if they were none."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    check_positive(image_size=min(height, width))
    rounded = (ceil(height / stride) * stride, ceil(width / stride) * stride)
    if rounded == (height, width):
        return rounded, None
    return rounded, f"image_size {image_size} is not a multiple of the stride {stride}: using {rounded}"


def overlap(train: DetectionDataset, val: DetectionDataset) -> str | None:
    """What is to be said of images that are in both; None if there are none."""
    shared = {train.path(index) for index in range(len(train))} & {val.path(index) for index in range(len(val))}
    if not shared:
        return None
    return (
        f"{len(shared)} of {len(val)} validation images are training images too (such as {min(shared)}): "
        "validation will look better than it is"
    )
