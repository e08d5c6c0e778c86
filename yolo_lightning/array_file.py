"""Arrays and a few plain values in one compressed file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError
from yolo_lightning.paths import replacing

__all__ = ["Arrays", "load_arrays", "save_arrays"]

_T = TypeVar("_T")

Arrays = dict[str, npt.NDArray[Any]]

# What reading a file that is damaged, or holds something else, raises.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)

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


def load_arrays(
    file: Path, version: int, build: Callable[[Arrays, dict[str, Any]], _T], *, missing: str, damaged: str
) -> _T:
    """Reads such a file; runs nothing that it holds.

    Args:
        file: The file.
        version: What ``version`` of the plain values must be.
        build: Makes of the arrays and the plain values what they stand for; raises a ``ValueError``, ``KeyError`` or
            ``TypeError`` if it cannot.
        missing: What to say where there is none: who writes it.
        damaged: What a file that cannot be read is not, as in "is damaged or no evaluation".

    Raises:
        InputError: If there is none, or it is damaged.
    """
    try:
        return build(*_read(file, version))
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: {missing}") from error
    except _DAMAGED as error:
        raise InputError(f"{file} is damaged or {damaged} ({error})") from error


def _read(path: Path, version: int) -> tuple[Arrays, dict[str, Any]]:
    # numpy leaves a damaged file open that it has opened itself
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays: Arrays = {name: archive[name] for name in archive.files}
    meta: dict[str, Any] = json.loads(arrays.pop(_META).tobytes())
    if meta["version"] != version:
        raise ValueError(f"version {meta['version']}, this library reads version {version}")
    return arrays, meta
