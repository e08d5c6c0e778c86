"""What each process predicts, streamed to files of its own, and read again in the order of the data set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from yolo_lightning.types import Detections, ImageInfo

__all__ = ["ROW", "PartFiles", "PartWriter", "PredictedImage", "Rows", "find_repeated", "read_images", "read_rows"]

ROW = np.dtype([("box", "<f4", (4,)), ("score", "<f4"), ("label", "<i4")])
"""A detection: xyxy pixels of the original image, confidence, class index."""

Rows = npt.NDArray[np.void]
"""(n,) detections of the type `ROW`."""


class PartFiles(NamedTuple):
    """The two files of a process: detections, one after the other, and a line of JSON for each image."""

    rows: Path
    images: Path

    @classmethod
    def of(cls, directory: Path, rank: int) -> PartFiles:
        """Those of process ``rank``."""
        return cls(directory / f"rank{rank}.rows", directory / f"rank{rank}.jsonl")


class PartWriter:
    """Writes detections as they come, so that memory holds those of one batch.

    Args:
        files: Files to write; their directory is made.
    """

    def __init__(self, files: PartFiles) -> None:
        files.rows.parent.mkdir(parents=True, exist_ok=True)
        self.files = files
        self._rows = files.rows.open("xb")
        self._images = files.images.open("x", encoding="ascii")

    def add(self, infos: Sequence[ImageInfo], detections: Sequence[Detections]) -> None:
        """Appends the images of a batch; afterwards they are on disk, whatever happens next."""
        counts = [len(found) for found in detections]
        self._rows.write(_to_rows(detections).tobytes())
        self._rows.flush()
        for info, count in zip(infos, counts, strict=True):
            line = [info.index, info.path, *info.original_size, count]
            self._images.write(json.dumps(line) + "\n")
        self._images.flush()

    def close(self) -> None:
        """Closes the files; may be called twice."""
        self._rows.close()
        self._images.close()


@dataclass(frozen=True, slots=True)
class PredictedImage:
    """An image of a part, and where its detections are.

    Args:
        index: Position in the data set.
        path: File of the image.
        size: Original size (height, width) in pixels.
        count: Number of detections.
        part: Which part.
        begin: First of the detections in its file.
    """

    index: int
    path: str
    size: tuple[int, int]
    count: int
    part: int
    begin: int


def read_images(parts: Sequence[PartFiles]) -> list[PredictedImage]:
    """The images of all parts in the order of the data set."""
    images = []
    for number, part in enumerate(parts):
        begin = 0
        with part.images.open(encoding="ascii") as file:
            for line in file:
                index, path, height, width, count = json.loads(line)
                images.append(PredictedImage(index, path, (height, width), count, number, begin))
                begin += count
    return sorted(images, key=lambda image: image.index)


def find_repeated(images: Sequence[PredictedImage]) -> list[PredictedImage]:
    """Images that are there more than once, each once."""
    counts = Counter(image.index for image in images)
    return list({image.index: image for image in images if counts[image.index] > 1}.values())


def read_rows(parts: Sequence[PartFiles], images: Sequence[PredictedImage]) -> Iterator[tuple[PredictedImage, Rows]]:
    """Each image with its detections."""
    with ExitStack() as stack:
        files = [stack.enter_context(part.rows.open("rb")) for part in parts]
        for image in images:
            file = files[image.part]
            file.seek(image.begin * ROW.itemsize)
            yield image, np.frombuffer(file.read(image.count * ROW.itemsize), ROW)


def _to_rows(detections: Sequence[Detections]) -> Rows:
    """The detections of a batch, moved from the device at once."""
    rows = np.zeros(sum(len(found) for found in detections), ROW)
    if len(rows):
        rows["box"] = torch.cat([found.boxes for found in detections]).float().cpu().numpy()
        rows["score"] = torch.cat([found.scores for found in detections]).float().cpu().numpy()
        rows["label"] = torch.cat([found.labels for found in detections]).cpu().numpy()
    return rows
