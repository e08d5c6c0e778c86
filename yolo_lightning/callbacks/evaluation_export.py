"""The detections of an evaluation in forms that other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path, PurePath
from typing import Literal, get_args

import numpy as np

from yolo_lightning.callbacks.prediction_files import FORMATS, PredictionFile
from yolo_lightning.callbacks.prediction_parts import ROW, PredictedImage, Rows
from yolo_lightning.coco import image_ids, relative_names
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.paths import safe_name
from yolo_lightning.text import label_line

__all__ = ["EXPORT_FORMATS", "ExportFormat", "export_detections"]

ExportFormat = Literal["coco", "csv", "parquet", "txt"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)


def export_detections(
    evaluation: StoredEvaluation, directory: Path, formats: Sequence[ExportFormat], confidence: bool = True
) -> None:
    """Writes ``predictions.json`` (COCO's result format), ``.csv``, ``.parquet``, or ``labels/<image>.txt``.

    Args:
        evaluation: The detections.
        directory: Where to write; what is there is replaced.
        formats: Which files.
        confidence: Whether the confidence ends each line of the label files.

    Raises:
        OSError: If a file cannot be written.
    """
    data, ids = evaluation.data, image_ids(evaluation.images)
    bounds = np.searchsorted(data.image_index, np.arange(data.num_images + 1))
    numbers = all(isinstance(identity, int) for identity in ids)
    label_files = [_inside(directory / "labels", name) for name in relative_names(evaluation.images)]
    with ExitStack() as stack:
        files: list[PredictionFile] = []
        for kind in (FORMATS[name] for name in dict.fromkeys(formats) if name != "txt"):
            file = kind(directory / kind.name, evaluation.class_names, ids_are_numbers=numbers)
            files.append(stack.enter_context(closing(file)))
        for position, path in enumerate(evaluation.images):
            part = slice(bounds[position], bounds[position + 1])
            rows = np.zeros(part.stop - part.start, dtype=ROW)
            rows["box"], rows["score"], rows["label"] = data.boxes[part], data.scores[part], data.labels[part]
            height, width = evaluation.image_sizes[position].tolist()
            image = PredictedImage(position, path, (height, width), len(rows), 0, int(part.start))
            for file in files:
                file.add(image, ids[position], rows)
            if "txt" in formats:
                _write_label_file(label_files[position], image, rows, confidence)


def _inside(directory: Path, name: str) -> Path:
    """The file for a name that may begin at the root, or go upwards: never beside the images of the user."""
    return directory.joinpath(*(safe_name(part) for part in PurePath(name).parts)).with_suffix(".txt")


def _write_label_file(path: Path, image: PredictedImage, rows: Rows, confidence: bool) -> None:
    """``class cx cy w h [confidence]`` in fractions of the image; an image without detections gets no file."""
    if not len(rows):
        return
    height, width = image.size
    corners = rows["box"].astype(np.float64) / [width, height, width, height]
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    lines = []
    for label, score, values in zip(
        rows["label"].tolist(), rows["score"].tolist(), np.hstack((centres, sides)).tolist(), strict=True
    ):
        numbers = [*values, score] if confidence else values
        lines.append(label_line(label, numbers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="ascii")
