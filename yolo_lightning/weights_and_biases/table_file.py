"""Writes the evaluation table; run as a module it does so in a process of its own, with neither torch nor wandb.

``wandb.Table`` would read and decode every image for its cell, and hold all of it in memory while training goes on. So
the file is written here, a row at a time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from yolo_lightning.metrics.image_errors import ImageErrors, image_errors
from yolo_lightning.metrics.matching import EvaluationData, FloatArray, IntArray
from yolo_lightning.metrics.stored import StoredEvaluation
from yolo_lightning.weights_and_biases.boxes import GROUND_TRUTH, PREDICTIONS, label_boxes, prediction_boxes
from yolo_lightning.weights_and_biases.table_format import picture_cell, table_head, unique_columns

__all__ = ["COLUMNS", "MAX_CLASSES", "TableRequest", "write_table"]

COLUMNS = ("epoch", "id", "name", "image", "missed", "false", "F1")
"""The first columns; those of the classes follow."""

MAX_CLASSES = 100
"""Most columns of classes."""


@dataclass(frozen=True)
class TableRequest:
    """What to write where.

    Args:
        evaluation: File of labels and of the detections to show.
        table: File to write.
        epoch: Epoch to name in each row, if it is of one.
        names: Name of each image in the artifact of the table, by its index in the evaluation; None for those that it
            does not have, whose cell stays empty.
        classes: ``path`` and ``digest`` of the file of class names in the artifact.
    """

    evaluation: str
    table: str
    epoch: int | None
    names: Sequence[str | None]
    classes: Mapping[str, str]


def write_table(request: TableRequest) -> dict[str, Any]:
    """Writes the file, the worst image first.

    Returns:
        ``images``, ``missed`` and ``false``, their sums, and ``class_columns``, a text that says how many there are.
    """
    stored = StoredEvaluation.load(Path(request.evaluation))
    errors = image_errors(stored.data)
    classes = _most_frequent(stored.data)
    names = {label: stored.class_names[label] for label in classes.tolist()}
    columns = [*COLUMNS, *unique_columns(COLUMNS, names)]
    head = table_head(columns, len(stored.images), ["name"], stored.class_names)
    with Path(request.table).open("w", encoding="utf-8") as file:
        file.write(_dump(head)[:-1] + ',"data":[')
        for number, row in enumerate(_rows(request, stored, errors, classes)):
            file.write(("," if number else "") + _dump(row))
        file.write("]}")
    return {
        "images": len(stored.images),
        "missed": int(errors.missed.sum()),
        "false": int(errors.false.sum()),
        "class_columns": f"{len(classes)} of {len(stored.class_names)}, the most frequent",
    }


def _rows(
    request: TableRequest, stored: StoredEvaluation, errors: ImageErrors, classes: IntArray
) -> Iterator[list[Any]]:
    data = stored.data
    means = _mean_confidence(data, classes)
    ends = np.arange(data.num_images + 1)
    found, labels = np.searchsorted(data.image_index, ends), np.searchsorted(data.target_image_index, ends)
    for image in errors.worst_first().tolist():
        height, width = stored.image_sizes[image].tolist()
        to_fractions = stored.class_names, 1 / np.array([width, height]), np.zeros(2)
        boxes = {
            PREDICTIONS: prediction_boxes(data, np.arange(found[image], found[image + 1]), *to_fractions),
            GROUND_TRUTH: label_boxes(data, np.arange(labels[image], labels[image + 1]), *to_fractions),
        }
        name = request.names[image]
        yield [
            request.epoch,
            int(stored.image_ids[image]),
            PurePath(stored.images[image]).name,
            None if name is None else picture_cell(name, (height, width), boxes, request.classes),
            int(errors.missed[image]),
            int(errors.false[image]),
            round(float(errors.f1[image]), 4),
            *means[image].round(4).tolist(),
        ]


def _most_frequent(data: EvaluationData) -> IntArray:
    """The classes that get a column, ascending."""
    counts = np.bincount(np.concatenate((data.labels, data.target_labels)), minlength=data.num_classes)
    return np.sort(np.argsort(-counts, kind="stable")[:MAX_CLASSES])


def _mean_confidence(data: EvaluationData, classes: IntArray) -> FloatArray:
    """(num_images, columns) mean confidence of the detections, 0 where there is none."""
    column = np.full(data.num_classes, -1)
    column[classes] = np.arange(len(classes))
    rows = np.flatnonzero(column[data.labels] >= 0)
    cells = data.image_index[rows] * len(classes) + column[data.labels[rows]]
    size = data.num_images * len(classes)
    sums = np.bincount(cells, weights=data.scores[rows], minlength=size)
    means: FloatArray = sums / np.maximum(np.bincount(cells, minlength=size), 1)
    return means.reshape(data.num_images, len(classes))


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    """Reads a request from standard input, and prints what :func:`write_table` returns."""
    with suppress(AttributeError, OSError):  # not everywhere
        os.nice(10)
    json.dump(write_table(TableRequest(**json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
