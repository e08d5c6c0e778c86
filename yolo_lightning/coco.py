"""Detections in the form of COCO's result files.

https://cocodataset.org/#format-results
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "COCO_NAMES",
    "category_ids",
    "coco_categories",
    "coco_records",
    "image_id",
    "image_ids",
    "relative_names",
    "shortest_floats",
]

COCO_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
"""The 80 classes of COCO, in the order of their category ids."""

_UNUSED_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


def category_ids(class_names: Sequence[str]) -> tuple[int, ...]:
    """COCO's id of each class: COCO's own (1…90, with gaps) if these are its 80 classes, else the label (from 0)."""
    if tuple(class_names) == COCO_NAMES:
        return tuple(number for number in range(1, 91) if number not in _UNUSED_IDS)
    return tuple(range(len(class_names)))


def coco_categories(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The list ``categories`` of a COCO file."""
    return [{"id": number, "name": name} for number, name in zip(category_ids(class_names), class_names, strict=True)]


def image_id(name: str) -> int | str:
    """COCO's id of an image, as YOLOv5 has it: the file name without its ending, as a number if it is one."""
    stem = PurePath(name).stem
    return int(stem) if stem.isascii() and stem.isdecimal() else stem


def image_ids(paths: Sequence[str]) -> list[int] | list[str]:
    """Ids of the images of a data set; no two are the same, and all are of one type, as pycocotools needs.

    Numbers if every file name is one (see :func:`image_id`), else the names without their endings. Where several
    images would have the same, all are called by their paths, relative to the folder that they have in common.

    Args:
        paths: Their files, all different.
    """
    numbers = [number for path in paths if isinstance(number := image_id(path), int)]
    if len(numbers) == len(set(numbers)) == len(paths):
        return numbers
    stems = [PurePath(path).stem for path in paths]
    if len(set(stems)) == len(paths):
        return stems
    return relative_names(paths)


def relative_names(paths: Sequence[str]) -> list[str]:
    """The paths, relative to the folder that they have in common, with ``/`` between folders."""
    folders = [os.path.dirname(path) for path in paths]  # noqa: PTH120
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones, or several drives
        common = ""
    return [os.path.relpath(path, common).replace(os.sep, "/") if common else path for path in paths]


def coco_records(
    image_id: int | str,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """The detections of an image as COCO's records, which ``json`` can write.

    ``bbox`` is left, top, width, height in pixels to 4 decimals, about as exact as float32 is at a thousand. ``score``
    is exact: rounding would make ties, which change the average precision.

    Args:
        image_id: See :func:`image_id`.
        boxes: (K, 4) xyxy pixels of the original image.
        scores: (K,) confidence.
        labels: (K,) class indices.
        category_ids: Id of each class; see :func:`category_ids`.
    """
    corners = boxes.reshape(-1, 4).astype(np.float64)
    boxes_xywh = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1).round(4)
    rows = zip(labels.tolist(), boxes_xywh.tolist(), shortest_floats(scores), strict=True)
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for label, box, score in rows
    ]


def shortest_floats(values: npt.NDArray[np.float32]) -> list[float]:
    """Numbers (n,) as Python's, which print as the shortest text that gives the same float32: 0.1 for 0.1."""
    return [float(text) for text in np.asarray(values, np.float32).astype(str).tolist()]
