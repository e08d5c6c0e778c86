"""Detections of all images in one file: CSV, JSON, COCO's JSON."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from yolo_lightning.coco import category_ids
from yolo_lightning.inference.convert import class_name, records
from yolo_lightning.inference.frames import Source
from yolo_lightning.inference.results import Results
from yolo_lightning.paths import new_file

__all__ = ["CocoWriter", "CsvWriter", "JsonWriter"]

_COLUMNS = ("image", "source", "frame", "class", "name", "confidence", "xmin", "ymin", "xmax", "ymax")


class CsvWriter:
    """Writes a row for each detection: image, source, frame, class, name, confidence, xmin, ymin, xmax, ymax in pixels.

    Args:
        path: File to make; if there is one, a number is added to the name.
    """

    def __init__(self, path: Path) -> None:
        self._file = io.TextIOWrapper(new_file(path), encoding="utf-8", errors="surrogateescape", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(_COLUMNS)

    def __call__(self, result: Results, source: Source) -> None:
        """Writes the detections of an image."""
        frame = result.frames[0]
        number = "" if frame.number is None else frame.number
        for *box, confidence, label in result.xyxy[0].tolist():
            corners = (f"{value:.2f}" for value in box)
            name = class_name(result.names, int(label))
            self._rows.writerow([frame.name, frame.source, number, int(label), name, f"{confidence:.5f}", *corners])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _ArrayWriter(ABC):
    """Writes a JSON array piece by piece, one entry to a line; a file that was not closed lacks the last bracket only.

    Args:
        path: File to make; if there is one, a number is added to the name.
    """

    def __init__(self, path: Path) -> None:
        self._file = new_file(path)
        self._file.write(b"[")
        self._separator = b"\n"

    @abstractmethod
    def entries(self, result: Results) -> Iterable[dict[str, Any]]:
        """What to write of an image."""

    def __call__(self, result: Results, source: Source) -> None:
        """Writes the detections of an image."""
        for entry in self.entries(result):
            # A file name that is no UTF-8 holds surrogates, which become JSON's escapes.
            line = json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace")
            self._file.write(self._separator + line)
            self._separator = b",\n"

    def close(self) -> None:
        """Ends the array."""
        if not self._file.closed:
            self._file.write(b"\n]\n")
            self._file.close()


class JsonWriter(_ArrayWriter):
    """Writes an object for each image or frame, those without detections too.

    ``{"image": "bus.jpg", "source": …, "frame": null, "time": null, "height": 1080, "width": 810, "detections": […]}``;
    detections as in ``Results.to_json``, times in seconds.
    """

    def entries(self, result: Results) -> Iterable[dict[str, Any]]:
        """One object."""
        frame = result.frames[0]
        yield {
            "image": frame.name,
            "source": frame.source,
            "frame": frame.number,
            "time": frame.time,
            "height": frame.size[0],
            "width": frame.size[1],
            "detections": records(result.detections[0], result.names),
        }


class CocoWriter(_ArrayWriter):
    """Writes an object for each detection, as COCO's result files have them.

    Args:
        path: File to make; if there is one, a number is added to the name.
        class_names: Names of the classes; the 80 of COCO get the numbers that COCO's annotation files have.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        super().__init__(path)
        self._category_ids = category_ids(class_names)

    def entries(self, result: Results) -> Iterable[dict[str, Any]]:
        """One object for each detection."""
        return result.to_coco(category_ids=self._category_ids)
