"""The images of a split as a table at W&B, with their boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.data import YOLODataset

__all__ = ["COLUMNS", "add_table"]

COLUMNS = ("id", "image", "classes", "name")
"""Columns of the table: position in the split, picture with boxes, names of the classes on it, and file name."""

_DECIMALS = 6


def add_table(artifact: Any, split: str, dataset: YOLODataset, progress: Callable[[], None]) -> None:
    """Adds a table of a split to an artifact that holds its images already; the pictures are those files.

    Rows are written one by one: as objects of wandb they would take 20 kB each. W&B's client decodes every image to
    know its size, which is nearly all of the time that this takes.

    Args:
        artifact: A wandb artifact.
        split: Name of the table.
        dataset: Images and labels.
        progress: Called after every image.
    """
    wandb = import_wandb()
    classes = wandb.Classes([{"id": index, "name": name} for index, name in enumerate(dataset.class_names)])
    form: dict[str, Any] = {}
    with artifact.new_file(f"{split}.table.json", encoding="utf-8") as file:
        file.write('{"data": [')
        for index in range(len(dataset)):
            row = _row(dataset, index, classes)
            picture = None if row[1] is None else row[1].to_json(artifact)
            if picture is not None and not form:  # the types of the columns are those of any row with a picture
                form = wandb.Table(columns=list(COLUMNS), data=[row]).to_json(artifact)
            file.write(", " if index else "")
            json.dump([row[0], picture, *row[2:]], file, sort_keys=True)
            progress()
        form = form or wandb.Table(columns=list(COLUMNS)).to_json(artifact)
        others = {**form, "nrows": len(dataset)}
        del others["data"]
        file.write("], " + json.dumps(others, sort_keys=True)[1:])


def _row(dataset: YOLODataset, index: int, classes: Any) -> list[Any]:
    names = dataset.class_names
    labels = dataset.annotations(index)[1].tolist()
    path = dataset.path(index)
    present = ", ".join(names[label] for label in sorted(set(labels)))
    try:
        picture = import_wandb().Image(path, classes=classes, boxes={"ground_truth": _boxes(dataset, index)})
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ):  # a format that we read and Pillow does not
        picture = None
    return [index, picture, present, Path(path).name]


def _boxes(dataset: YOLODataset, index: int) -> dict[str, Any]:
    """In W&B's form: middle, width and height as fractions of the image."""
    names = dataset.class_names
    height, width = dataset.image_size(index)
    boxes, labels = dataset.annotations(index)
    fractions = (boxes.astype(float) / (width, height, width, height)).clip(0, 1)
    data = []
    for (left, top, right, bottom), label in zip(fractions.tolist(), labels.tolist(), strict=True):
        middle = [round((left + right) / 2, _DECIMALS), round((top + bottom) / 2, _DECIMALS)]
        size = {"width": round(right - left, _DECIMALS), "height": round(bottom - top, _DECIMALS)}
        data.append({"position": {"middle": middle, **size}, "class_id": label, "box_caption": names[label]})
    return {"box_data": data, "class_labels": dict(enumerate(names))}
