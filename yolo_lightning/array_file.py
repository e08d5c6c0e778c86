"""Arrays and a few plain values in one compressed file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_lightning.paths import replacing

__all__ = ["DAMAGED", "Arrays", "load_arrays", "save_arrays"]

Arrays = dict[str, npt.NDArray[Any]]

DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
"""What reading a file that is damaged, or holds something else, raises."""

_META = "meta"


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Writes the file, whole or not at all, in the place of an older one.

    Args:
        path: The file.
        arrays: Arrays of numbers.
        meta: What ``json`` can write.

    Raises:
        OSError: If it cannot be written.
    """
    packed = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{**arrays, _META: packed})


def load_arrays(path: Path, version: int) -> tuple[Arrays, dict[str, Any]]:
    """Reads such a file; runs nothing that it holds.

    Args:
        path: The file.
        version: What ``version`` of the plain values must be.

    Returns:
        The arrays and the plain values.

    Raises:
        FileNotFoundError: If there is none.
        DAMAGED: If it cannot be read.
    """
    # numpy leaves a damaged file open that it has opened itself
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays: Arrays = {name: archive[name] for name in archive.files}
    meta: dict[str, Any] = json.loads(arrays.pop(_META).tobytes())
    if meta["version"] != version:
        raise ValueError(f"version {meta['version']}, this library reads version {version}")
    return arrays, meta
