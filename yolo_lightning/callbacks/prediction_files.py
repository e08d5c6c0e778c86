"""The files that predictions are kept in."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from yolo_lightning.callbacks.prediction_parts import PredictedImage, Rows
from yolo_lightning.coco import category_ids, coco_records, shortest_floats
from yolo_lightning.extras import require

__all__ = ["FORMATS", "COCOFile", "CSVFile", "Format", "ParquetFile", "PredictionFile", "check_format"]

Format = Literal["coco", "csv", "parquet"]

_COLUMNS = ("image", "image_id", "label", "name", "confidence", "x1", "y1", "x2", "y2", "width", "height")
_CHUNK = 100_000
"""Detections that Parquet writes at a time."""


class PredictionFile(ABC):
    """Writes the detections of one image after the other; memory does not grow with their number.

    Args:
        path: File to write.
        class_names: Names of the classes.
        ids_are_numbers: Whether the ids of the images are numbers; else they are texts.
    """

    name: str
    """File name in the run directory."""

    @abstractmethod
    def __init__(self, path: Path, class_names: Sequence[str], *, ids_are_numbers: bool) -> None: ...

    @abstractmethod
    def add(self, image: PredictedImage, image_id: int | str, rows: Rows) -> None:
        """Appends the detections of an image, best first."""

    @abstractmethod
    def close(self) -> None:
        """Ends the file."""


class COCOFile(PredictionFile):
    """COCO's result format: a list of records; see :func:`~yolo_lightning.coco.coco_records`."""

    name = "predictions.json"

    def __init__(self, path: Path, class_names: Sequence[str], *, ids_are_numbers: bool) -> None:
        self._category_ids = category_ids(class_names)
        self._separator = "\n"
        self._file = path.open("w", encoding="ascii")
        self._file.write("[")

    def add(self, image: PredictedImage, image_id: int | str, rows: Rows) -> None:
        """See `PredictionFile.add`."""
        for record in coco_records(image_id, rows["box"], rows["score"], rows["label"], self._category_ids):
            self._file.write(self._separator + json.dumps(record))
            self._separator = ",\n"

    def close(self) -> None:
        """See `PredictionFile.close`."""
        self._file.write("\n]\n" if self._separator == ",\n" else "]\n")
        self._file.close()


class CSVFile(PredictionFile):
    """A row for each detection; numbers are written so that they give the same float32 again."""

    name = "predictions.csv"

    def __init__(self, path: Path, class_names: Sequence[str], *, ids_are_numbers: bool) -> None:
        self._class_names = class_names
        self._file = path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(_COLUMNS)

    def add(self, image: PredictedImage, image_id: int | str, rows: Rows) -> None:
        """See `PredictionFile.add`."""
        columns = [shortest_floats(column) for column in (rows["score"], *rows["box"].T)]
        height, width = image.size
        for label, *numbers in zip(rows["label"].tolist(), *columns, strict=True):
            name = self._class_names[label]
            self._writer.writerow((image.path, image_id, label, name, *numbers, width, height))

    def close(self) -> None:
        """See `PredictionFile.close`."""
        self._file.close()


class ParquetFile(PredictionFile):
    """The columns of the CSV file with their types: texts, int32 and float32; ``image_id`` is int64 or text."""

    name = "predictions.parquet"

    def __init__(self, path: Path, class_names: Sequence[str], *, ids_are_numbers: bool) -> None:
        self._arrow = _require_arrow()
        self._class_names = class_names
        text, count, real = self._arrow.string(), self._arrow.int32(), self._arrow.float32()
        identity = self._arrow.int64() if ids_are_numbers else text
        types = (text, identity, count, text, real, real, real, real, real, count, count)
        self._schema = self._arrow.schema(list(zip(_COLUMNS, types, strict=True)))
        self._writer = self._arrow.parquet.ParquetWriter(str(path), self._schema)
        self._columns: list[list[Any]] = [[] for _ in _COLUMNS]

    def add(self, image: PredictedImage, image_id: int | str, rows: Rows) -> None:
        """See `PredictionFile.add`."""
        labels, (height, width), count = rows["label"].tolist(), image.size, len(rows)
        new = (
            [_valid(image.path)] * count,
            [_valid(image_id)] * count,
            labels,
            [self._class_names[label] for label in labels],
            *(column.tolist() for column in (rows["score"], *rows["box"].T)),
            [width] * count,
            [height] * count,
        )
        for column, values in zip(self._columns, new, strict=True):
            column += values
        if len(self._columns[0]) >= _CHUNK:
            self._flush()

    def close(self) -> None:
        """See `PredictionFile.close`."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        arrays = [
            self._arrow.array(column, field.type) for column, field in zip(self._columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._columns = [[] for _ in _COLUMNS]


FORMATS: dict[Format, type[PredictionFile]] = {"coco": COCOFile, "csv": CSVFile, "parquet": ParquetFile}


def check_format(name: Format) -> None:
    """Checks, before anything is predicted, that a format can be written.

    Raises:
        InputError: If a library is missing.
    """
    if name == "parquet":
        _require_arrow()


def _require_arrow() -> Any:
    require("pyarrow.parquet", "tables", "to write Parquet files")
    return require("pyarrow", "tables", "to write Parquet files")


def _valid(text: int | str) -> int | str:
    """Parquet's texts are Unicode, which file names need not be."""
    return text if isinstance(text, int) else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
