"""Small data sets on disk, made by code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import yaml

LABEL = "0 0.5 0.5 0.25 0.5\n"


def write_image(file: Path, size: tuple[int, int] = (24, 32), seed: int = 0) -> Path:
    """A picture of noise, (height, width) pixels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    file.write_bytes(cv2.imencode(file.suffix, pixels)[1].tobytes())
    return file


def write_split(root: Path, name: str, count: int, label: str | None = LABEL, suffix: str = ".png") -> list[Path]:
    """``images/<name>`` and ``labels/<name>`` with ``count`` pictures of different sizes."""
    images = []
    for number in range(count):
        image = root / "images" / name / f"{name}{number}{suffix}"
        images.append(write_image(image, (24 + 4 * number, 48 - 2 * number), number))
        if label is not None:
            write_label(image, label)
    return images


def write_label(image: Path, content: str | bytes) -> Path:
    """The label file of an image."""
    file = label_of(image)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def label_of(image: Path) -> Path:
    """Where the labels of ``…/images/…/x.png`` belong."""
    head, _, tail = str(image).rpartition("/images/")
    return Path(f"{head}/labels/{tail}").with_suffix(".txt")


def write_yaml(file: Path, values: Mapping[str, object] | str) -> Path:
    """A yaml of plain values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(values if isinstance(values, str) else yaml.safe_dump(dict(values)))
    return file


def write_dataset(root: Path, train: int = 5, val: int = 3, **options: str) -> Path:
    """A whole data set with the classes cat and dog; returns its yaml."""
    write_split(root, "train", train, **options)
    write_split(root, "val", val, **options)
    return write_yaml(
        root / "data.yaml", {"path": ".", "train": "images/train", "val": "images/val", "names": ["cat", "dog"]}
    )
