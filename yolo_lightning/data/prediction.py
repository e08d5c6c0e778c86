"""The images to predict: those of a split, or of a plain folder without any description."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.files import IMAGE_SUFFIXES, find_images
from yolo_lightning.data.indexed import ImageFiles
from yolo_lightning.data.problems import DataError

__all__ = ["prediction_dataset"]


def prediction_dataset(
    make_dataset: Callable[[Path | None, str], DetectionDataset], path: Path | None, split: str
) -> DetectionDataset:
    """The images to predict, without labels.

    What ``make_dataset`` cannot read may also be a folder of images (searched deeply) without a yaml, a text file that
    lists images, or an image; the data set then has no class names.

    Args:
        make_dataset: Makes a split, given the path and its name.
        path: Where the data is.
        split: ``train``, ``val`` or ``test``.

    Raises:
        DataError: If the path is none of these.
    """
    try:
        dataset = make_dataset(path, split)
    except DataError:
        if path is None or not _holds_only_images(path):
            raise
        return _files(path)
    return dataset.without_labels()


def _holds_only_images(path: Path) -> bool:
    if path.is_dir():
        return not any(file.suffix.lower() in {".yaml", ".yml"} for file in path.iterdir())
    return path.is_file() and path.suffix.lower() in {".txt", *IMAGE_SUFFIXES}


def _files(path: Path) -> ImageFiles:
    path = Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return ImageFiles([str(path)], path)
    return ImageFiles(find_images([path], []), path)
