"""Detections as label files of the YOLO form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from yolo_lightning.inference.frames import Source
from yolo_lightning.inference.pictures import output_stem
from yolo_lightning.inference.results import Results
from yolo_lightning.paths import write_new_file
from yolo_lightning.text import label_line

__all__ = ["LabelForm", "LabelWriter"]

LabelForm = Literal["xywh", "xyxy"]


class LabelWriter:
    """Writes ``labels/<image>.txt``, for frame 12 of a video ``<video>_12.txt``: ``class cx cy w h`` in fractions.

    An image without detections gets no file, which in a data set means background.

    Args:
        directory: Where to make the folder ``labels``.
        confidence: Whether the confidence ends each line.
        form: Centre and size (``xywh``) as training reads them, or corners (``xyxy``).
    """

    def __init__(self, directory: Path, confidence: bool = False, form: LabelForm = "xywh") -> None:
        self.directory = directory / "labels"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.confidence = confidence
        self.form = form

    def __call__(self, result: Results, source: Source) -> None:
        """Writes the detections of an image."""
        table = (result.xywhn if self.form == "xywh" else result.xyxyn)[0]
        if not len(table):
            return
        lines = []
        for *box, confidence, label in table.tolist():
            values = [*box, confidence] if self.confidence else box
            lines.append(label_line(int(label), values))
        path = self.directory / f"{output_stem(result.frames[0])}.txt"
        write_new_file(path, "".join(lines).encode())

    def close(self) -> None:
        """Nothing is open between calls."""
