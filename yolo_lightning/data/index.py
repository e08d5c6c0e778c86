"""The label index: every image and label of a split, parsed and checked once, in flat memory-mapped arrays.

A hundred thousand images are a few dozen megabytes that all workers and ranks share, instead of Python objects that
each of them copies. The index of a data set lies in the cache directory of the user; opening it again costs one
``stat`` per file, and only files that changed are read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.files import label_path
from yolo_lightning.data.problems import Problem
from yolo_lightning.data.scan import FileRecord, file_keys, scan_files
from yolo_lightning.data.storage import Arrays, load_arrays, save_arrays
from yolo_lightning.paths import cache_directory

__all__ = ["LabelIndex", "build_index"]

_VERSION = 1


class LabelIndex:
    """Labels of the images of a split, by position among the images that can be used.

    Args:
        arrays: The flat arrays, as made by :func:`build_index`. Files are those found, used or not; rows are the boxes
            of all files. ``paths`` (bytes) and ``path_offsets``; ``keys`` (files, 8) identify the state of image and
            label file; ``headers`` (files, 4) are height, width, orientation and whether the image is used;
            ``labels`` (rows,), ``boxes`` (rows, 4) and ``row_offsets``; ``points`` (p, 2) and ``point_offsets`` hold
            the polygons; ``problems`` is JSON.
        file: The file that the arrays are mapped from; None if they are in memory.
    """

    def __init__(self, arrays: Arrays, file: Path | None = None) -> None:
        # still mapped, but plain arrays: slices of np.memmap take several times as long
        self._arrays: dict[str, npt.NDArray[Any]] = {name: np.asarray(array) for name, array in arrays.items()}
        self.file = file
        self._used = np.flatnonzero(self._arrays["headers"][:, 3])

    def __len__(self) -> int:
        return len(self._used)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker maps the file again instead of receiving a copy of it
        if self.file is None:
            return {"arrays": self._arrays}
        return {"file": self.file, "keys": self._digest()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = state.get("file")
        self.__init__(load_arrays(file) if file else state["arrays"], file)  # type: ignore[misc]
        if file and self._digest() != state["keys"]:
            raise RuntimeError(f"{file}: the data set was changed and indexed again during the run; start it anew")

    @property
    def num_files(self) -> int:
        """Number of images found, also of those that are left out."""
        return len(self._arrays["headers"])

    @property
    def num_boxes(self) -> int:
        """Number of boxes in the images that are used."""
        offsets = self._arrays["row_offsets"]
        return int((offsets[self._used + 1] - offsets[self._used]).sum())

    @property
    def num_missing(self) -> int:
        """Number of used images without a label file; they are background."""
        return int((self._arrays["keys"][self._used, 4] == -1).sum())

    @property
    def num_empty(self) -> int:
        """Number of used images whose label file has no row; they are background."""
        offsets = self._arrays["row_offsets"]
        return int((offsets[self._used + 1] == offsets[self._used]).sum()) - self.num_missing

    @cached_property
    def problems(self) -> list[Problem]:
        """All that is wrong with the files."""
        records = json.loads(self._arrays["problems"].tobytes() or b"[]")
        return [Problem.from_dict(values) for _, values in records]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(n, 2) height and width of the images in pixels after orientation."""
        return self._arrays["headers"][self._used, :2].astype(np.int64)

    def path(self, index: int) -> str:
        """Absolute path of an image."""
        return self._path(self._used[index])

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image in pixels after orientation."""
        height, width = self._arrays["headers"][self._used[index], :2].tolist()
        return height, width

    def orientation(self, index: int) -> int:
        """EXIF orientation that the decoded image still needs."""
        return int(self._arrays["headers"][self._used[index], 2])

    def labels(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) in normalised centre form exactly as in the file, and class indices (n,)."""
        rows = self._rows(self._used[index])
        return np.asarray(self._arrays["boxes"][rows]), np.asarray(self._arrays["labels"][rows])

    def polygons(self, index: int) -> list[npt.NDArray[np.float32]]:
        """Normalised polygon (p, 2) of each row; empty for a row that is a box."""
        rows = self._rows(self._used[index])
        offsets = self._arrays["point_offsets"][rows.start : rows.stop + 1]
        if offsets[0] == offsets[-1]:  # boxes only, in a hurry
            return [np.zeros((0, 2), np.float32)] * (rows.stop - rows.start)
        points = self._arrays["points"]
        return [np.asarray(points[begin:end]) for begin, end in itertools.pairwise(offsets.tolist())]

    def all_labels(self) -> npt.NDArray[np.int64]:
        """Class indices of all boxes of the used images."""
        counts = np.diff(self._arrays["row_offsets"])
        mask = np.repeat(self._arrays["headers"][:, 3] > 0, counts)
        return np.asarray(self._arrays["labels"][mask])

    def image_digest(self) -> str:
        """Digest of paths and states of the images, used or not; labels do not count."""
        digest = hashlib.sha256(self._arrays["paths"].tobytes())
        digest.update(np.ascontiguousarray(self._arrays["keys"][:, :4]).tobytes())
        digest.update(np.ascontiguousarray(self._arrays["headers"]).tobytes())
        return digest.hexdigest()

    def records(self) -> dict[str, tuple[npt.NDArray[np.int64], FileRecord]]:
        """State key and content of every file, by path; used to read only what changed."""
        problems: dict[int, list[Problem]] = {}
        for position, values in json.loads(self._arrays["problems"].tobytes() or b"[]"):
            problems.setdefault(position, []).append(Problem.from_dict(values))
        keys = self._arrays["keys"]
        return {
            self._path(position): (keys[position], self._record(position, problems.get(position, [])))
            for position in range(self.num_files)
        }

    def matches(self, paths: bytes, keys: npt.NDArray[np.int64]) -> bool:
        """Whether the index describes exactly these files in this state."""
        return self._arrays["paths"].tobytes() == paths and np.array_equal(self._arrays["keys"], keys)

    def _record(self, position: int, problems: list[Problem]) -> FileRecord:
        rows = self._rows(position)
        offsets = self._arrays["point_offsets"][rows.start : rows.stop + 1]
        return FileRecord(
            header=tuple(self._arrays["headers"][position].tolist()),
            labels=self._arrays["labels"][rows],
            boxes=self._arrays["boxes"][rows],
            points=self._arrays["points"][offsets[0] : offsets[-1]],
            point_counts=np.diff(offsets),
            problems=problems,
        )

    def _rows(self, position: int) -> slice:
        begin, end = self._arrays["row_offsets"][position : position + 2].tolist()
        return slice(begin, end)

    def _path(self, position: int) -> str:
        begin, end = self._arrays["path_offsets"][position : position + 2].tolist()
        return self._arrays["paths"][begin:end].tobytes().decode("utf-8", "surrogateescape")

    def _digest(self) -> bytes:
        digest = hashlib.sha256(self._arrays["paths"].tobytes())
        digest.update(self._arrays["keys"].tobytes())
        return digest.digest()


def build_index(
    images: Sequence[str], *, name: str, num_classes: int | None, progress: bool = True, workers: int | None = None
) -> LabelIndex:
    """Opens the index of these images from the cache, reading only files that changed; builds it where needed.

    Several processes may do this at once: each writes a whole file and renames it. A cache that cannot be written to is
    warned of and done without; a damaged one is built again.

    Args:
        images: Absolute paths.
        name: What the data set and split are called, such as the path of the yaml; names the cache file.
        num_classes: Class indices must be below it; None leaves labels alone.
        progress: Whether to show a progress bar while files are read.
        workers: Processes to read with; None decides by the number of files and cores.
    """
    file = _cache_file(name, num_classes)
    old = _open(file)
    encoded = [path.encode("utf-8", "surrogateescape") for path in images]
    labels = ["" if num_classes is None else label_path(path) for path in images]  # "" is no file
    keys = file_keys(images, labels)
    if old is not None and old.matches(b"".join(encoded), keys.current):
        return old
    known = old.records() if old is not None else {}
    records: list[FileRecord | None] = [None] * len(images)
    for position, path in enumerate(images):
        key, record = known.get(path, (None, None))
        if key is not None and np.array_equal(key, keys.current[position]):
            records[position] = record
    changed = [position for position, record in enumerate(records) if record is None]
    fresh = scan_files([images[position] for position in changed], num_classes, progress=progress, workers=workers)
    for position, record in zip(changed, fresh, strict=True):
        records[position] = record
    return _store(file, _arrays(encoded, keys.stored, [record for record in records if record is not None]))


def _cache_file(name: str, num_classes: int | None) -> Path:
    digest = hashlib.sha256(f"{_VERSION}\0{num_classes}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_directory() / "labels" / f"{digest}.safetensors"


def _open(file: Path) -> LabelIndex | None:
    try:
        return LabelIndex(load_arrays(file), file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"the label cache {file} cannot be used ({error}); building it again", stacklevel=2)
        return None


def _store(file: Path, arrays: Arrays) -> LabelIndex:
    try:
        save_arrays(file, arrays)
    except OSError as error:
        warnings.warn(
            f"the label cache {file} cannot be written ({error}); labels are kept in memory and read again next time. "
            "Set YOLO_LIGHTNING_CACHE to a folder that can be written to",
            stacklevel=2,
        )
        return LabelIndex(arrays)
    # another process may have replaced the file meanwhile, by one of a later state: keep what we checked
    index = _open(file)
    return index if index is not None and index._digest() == LabelIndex(arrays)._digest() else LabelIndex(arrays)


def _arrays(paths: list[bytes], keys: npt.NDArray[np.int64], records: list[FileRecord]) -> Arrays:
    problems = [(position, item.to_dict()) for position, record in enumerate(records) for item in record.problems]
    counts = _concatenate([record.point_counts for record in records], (0,), np.int64)
    return {
        "paths": np.frombuffer(b"".join(paths), np.uint8),
        "path_offsets": _offsets([len(path) for path in paths]),
        "keys": keys,
        "headers": np.array([record.header for record in records], np.int32).reshape(-1, 4),
        "labels": _concatenate([record.labels for record in records], (0,), np.int64),
        "boxes": _concatenate([record.boxes for record in records], (0, 4), np.float32),
        "row_offsets": _offsets([len(record.labels) for record in records]),
        "points": _concatenate([record.points for record in records], (0, 2), np.float32),
        "point_offsets": _offsets(counts),
        "problems": np.frombuffer(json.dumps(problems).encode(), np.uint8),
    }


def _concatenate(arrays: list[npt.NDArray[Any]], empty: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(empty, dtype), *arrays])


def _offsets(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
