"""Detections in the forms that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from yolo_lightning.coco import category_ids, coco_records, image_id
from yolo_lightning.extras import require
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.pictures import output_stem
from yolo_lightning.ops import xyxy_to_cxcywh
from yolo_lightning.types import Detections

__all__ = [
    "BoxForm",
    "Tables",
    "box_table",
    "class_name",
    "coco_detections",
    "coco_image_id",
    "data_frame",
    "records",
    "supervision_detections",
]

BoxForm = Literal["xyxy", "xywh", "xyxyn", "xywhn"]
"""Corners, or centre and size; with n as fractions of the image's width and height, else in pixels."""

_COCO_DIGITS = 12  # of the numbers that are names in COCO
_COLUMNS = {"xyxy": ("xmin", "ymin", "xmax", "ymax"), "xywh": ("xcenter", "ycenter", "width", "height")}


@dataclass(frozen=True)
class Tables:
    """A ``pandas.DataFrame`` per image, for each form of the boxes.

    Columns are ``xmin, ymin, xmax, ymax`` or ``xcenter, ycenter, width, height``, then ``confidence, class, name``.

    Args:
        xyxy: Corners in pixels.
        xywh: Centre and size in pixels.
        xyxyn: Corners as fractions of width and height.
        xywhn: Centre and size as fractions of width and height.
    """

    xyxy: list[Any]
    xywh: list[Any]
    xyxyn: list[Any]
    xywhn: list[Any]


def class_name(class_names: Sequence[str], label: int) -> str:
    """The name of a class, or its number if it has none."""
    return class_names[label] if 0 <= label < len(class_names) else str(label)


def box_table(found: Detections, size: tuple[int, int], form: BoxForm = "xyxy") -> Tensor:
    """(n, 6) float32: box, confidence, class.

    Args:
        found: Detections of an image.
        size: Height and width of the image.
        form: Of the boxes.
    """
    boxes = found.boxes.float().reshape(-1, 4)
    if form.startswith("xywh"):
        boxes = xyxy_to_cxcywh(boxes)
    if form.endswith("n"):
        boxes = boxes / boxes.new_tensor((size[1], size[0], size[1], size[0]))
    return torch.cat((boxes, found.scores.float()[:, None], found.labels.float()[:, None]), dim=1)


def data_frame(found: Detections, size: tuple[int, int], class_names: Sequence[str], form: BoxForm = "xyxy") -> Any:
    """The detections as a ``pandas.DataFrame``, with columns as :class:`Tables` says.

    Raises:
        InputError: If pandas is not installed.
    """
    pandas = require("pandas", "tables", "for tables")
    table = box_table(found.to("cpu"), size, form).numpy()
    labels = found.labels.cpu().numpy()
    columns = dict(zip((*_COLUMNS[form.removesuffix("n")], "confidence"), table.T, strict=False))
    names = [class_name(class_names, label) for label in labels.tolist()]
    return pandas.DataFrame({**columns, "class": labels, "name": np.array(names, dtype=object)})


def records(found: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Plain values: ``{"name", "class", "confidence", "box": {"x1", "y1", "x2", "y2"}}`` for each detection.

    Boxes are pixels with three decimals, confidences have five.
    """
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return [
        {
            "name": class_name(class_names, label),
            "class": label,
            "confidence": round(score, 5),
            "box": {key: round(value, 3) for key, value in zip(("x1", "y1", "x2", "y2"), box, strict=True)},
        }
        for box, score, label in rows
    ]


def coco_image_id(frame: Frame) -> int | str:
    """The name of the file without its ending, as a number where it is one, as in COCO: 139 for 000000000139.jpg.

    Other numbers with leading zeros remain text, so that ``1.jpg`` and ``01.jpg`` are different images.
    """
    stem = output_stem(frame)
    number = image_id(f"{stem}.jpg")
    return number if str(number) == stem or len(stem) == _COCO_DIGITS else stem


def coco_detections(
    found: Detections, image_id: int | str, class_names: Sequence[str], numbers: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Detections as COCO's result files have them; see :func:`yolo_lightning.coco.coco_records`.

    Args:
        found: Detections of an image.
        image_id: Of the image.
        class_names: Names of the classes.
        numbers: Category id of each class; by default as :func:`yolo_lightning.coco.category_ids`.

    Raises:
        ValueError: If a class has none of the given numbers.
    """
    labels = found.labels.tolist()
    outside = [label for label in labels if not 0 <= label < len(class_names if numbers is None else numbers)]
    if outside and numbers is not None:
        raise ValueError(f"class {outside[0]} has no category id: {len(numbers)} are given")
    known = category_ids(class_names) if numbers is None else numbers
    own = [label if label in outside else known[label] for label in labels]
    found = found.to("cpu")
    # One number for each row, since a class without a name has none in the list.
    return coco_records(image_id, found.boxes.float().numpy(), found.scores.float().numpy(), np.arange(len(own)), own)


def supervision_detections(found: Detections, class_names: Sequence[str]) -> Any:
    """A ``supervision.Detections`` with the names of the classes in ``data["class_name"]``.

    Raises:
        InputError: If supervision is not installed.
    """
    supervision = require("supervision", "supervision", "for its detections")
    found = found.to("cpu")
    names = [class_name(class_names, label) for label in found.labels.tolist()]
    return supervision.Detections(
        xyxy=found.boxes.float().reshape(-1, 4).numpy(),
        confidence=found.scores.float().numpy(),
        class_id=found.labels.numpy().astype(int),
        data={"class_name": np.array(names, dtype=str)},
    )
