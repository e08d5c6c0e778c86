"""An evaluation out of COCO's files: detections and annotations as JSON.

https://cocodataset.org/#format-data and https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_lightning.errors import InputError
from yolo_lightning.metrics.matching import EvaluationData, FloatArray, IntArray
from yolo_lightning.metrics.stored import StoredEvaluation

__all__ = ["read_coco_evaluation"]


def read_coco_evaluation(detections: Path, annotations: Path) -> StoredEvaluation:
    """Reads detections and the labels that they are to be measured by.

    Images are numbered in the order of their ids, classes in the order of their category ids, as pycocotools has it.

    Args:
        detections: A list of ``image_id``, ``category_id``, ``bbox`` (left, top, width, height in pixels), ``score``.
        annotations: An object with ``images``, ``categories`` and ``annotations``.

    Raises:
        InputError: If a file cannot be read, an entry lacks something or holds what is no number, or detections are of
            other images or categories than the annotations.
    """
    truth = _AnnotationFile(annotations)
    found = _rows(detections, _read(detections), "", {"score": _number})
    images, labels = truth.positions(detections, "the list", found)
    boxes, scores = _boxes(found), np.array([row["score"] for row in found], dtype=np.float64)
    order = np.lexsort((-scores, images))
    target_order = np.argsort(truth.image_index, kind="stable")
    data = EvaluationData(
        num_classes=len(truth.class_names),
        num_images=len(truth.images),
        boxes=boxes[order],
        scores=scores[order],
        labels=labels[order],
        image_index=images[order],
        target_boxes=truth.boxes[target_order],
        target_labels=truth.labels[target_order],
        target_image_index=truth.image_index[target_order],
        target_crowd=truth.crowd[target_order],
        target_areas=truth.areas[target_order],
    )
    return StoredEvaluation(
        data, truth.class_names, truth.images, np.arange(len(truth.images)), truth.image_sizes, "val"
    )


class _AnnotationFile:
    def __init__(self, path: Path) -> None:
        content = _read(path)
        if not isinstance(content, Mapping):
            raise InputError(f"{path}: expected an object with images, categories and annotations, found a list")
        self.path = path
        images = _rows(path, _part(path, content, "images"), "images", {"id": _integer})
        categories = _rows(path, _part(path, content, "categories"), "categories", {"id": _integer, "name": _text})
        self._image_positions = _unique(path, "images", [row["id"] for row in images])
        self._category_positions = _unique(path, "categories", [row["id"] for row in categories])
        names = {row["id"]: row["name"] for row in categories}
        self.class_names = tuple(names[identity] for identity in self._category_positions)
        by_id = {row["id"]: row for row in images}
        ordered = [by_id[identity] for identity in self._image_positions]
        self.images = tuple(str(row.get("file_name", row["id"])) for row in ordered)
        sizes = [[_size(row.get("height")), _size(row.get("width"))] for row in ordered]
        self.image_sizes: IntArray = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        rows = _rows(path, _part(path, content, "annotations"), "annotations", {})
        self.image_index, self.labels = self.positions(path, "annotations", rows)
        self.boxes = _boxes(rows)
        own = np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1)
        given = [_optional(path, "annotations", index, row, "area") for index, row in enumerate(rows)]
        self.areas = np.array([own[i] if area is None else area for i, area in enumerate(given)], dtype=np.float64)
        self.crowd = np.array([bool(row.get("iscrowd", 0)) for row in rows], dtype=np.bool_)

    def positions(self, path: Path, where: str, rows: Sequence[Mapping[str, Any]]) -> tuple[IntArray, IntArray]:
        """Position of the image and of the class of each row."""
        result = []
        for key, known in (("image_id", self._image_positions), ("category_id", self._category_positions)):
            values = [row[key] for row in rows]
            if unknown := sorted({value for value in values if value not in known}):
                count = sum(value not in known for value in values)
                raise InputError(
                    f"{path}: {count} of {len(rows)} entries of {where} have a {key} that {self.path} does not list, "
                    f"such as {unknown[0]}: give files of the same images and classes"
                )
            result.append(np.array([known[value] for value in values], dtype=np.int64))
        return result[0], result[1]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error


def _part(path: Path, content: Mapping[str, Any], name: str) -> Any:
    if name not in content:
        raise InputError(f"{path}: has no {name}; found {', '.join(sorted(map(str, content))[:8]) or 'nothing'}")
    return content[name]


def _rows(path: Path, rows: Any, where: str, keys: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a list, checked."""
    name = where or "the list"
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: expected a list{f' of {where}' if where else ' of detections'}, found something else"
        )
    of_boxes = where in ("", "annotations")
    needed = {**({"image_id": _integer, "category_id": _integer, "bbox": _box} if of_boxes else {}), **keys}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{path}: entry {index} of {name} is no object")
        for key, check in needed.items():
            if key not in row:
                raise InputError(f"{path}: entry {index} of {name} has no {key}")
            if not check(row[key]):
                raise InputError(f"{path}: entry {index} of {name} has {key} {row[key]!r:.60}")
    return rows


def _optional(path: Path, where: str, index: int, row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is not None and not _number(value):
        raise InputError(f"{path}: entry {index} of {where} has {key} {value!r:.60}")
    return value


def _unique(path: Path, where: str, values: Sequence[int]) -> dict[int, int]:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise InputError(f"{path}: the id {twice} is there more than once in {where}")
    return {value: position for position, value in enumerate(sorted(values))}


def _boxes(rows: Sequence[Mapping[str, Any]]) -> FloatArray:
    """(n, 4) xyxy out of left, top, width, height."""
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_number, value)) and min(value[2:]) >= 0


def _size(value: Any) -> int:
    return value if _integer(value) and value > 0 else 0
