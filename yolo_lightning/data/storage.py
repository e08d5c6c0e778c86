"""Arrays in one memory-mapped file of the user's cache directory: no pickle, atomic replacement, checked on opening."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

__all__ = ["Arrays", "load_arrays", "save_arrays"]

Arrays = dict[str, npt.NDArray[np.generic]]

_DTYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def save_arrays(file: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Writes arrays as a safetensors file with a checksum; readers see the old file or the new one, nothing between.

    Raises:
        OSError: If the folder cannot be written to.
    """
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"crc32": _checksum(arrays)})
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_arrays(file: Path) -> Arrays:
    """Maps the arrays of :func:`save_arrays` into memory, read-only; the pages are shared by all processes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged.
    """
    content = np.memmap(file, dtype=np.uint8, mode="r")
    try:
        length = int.from_bytes(content[:8].tobytes(), "little")
        header = json.loads(content[8 : 8 + length].tobytes())
        checksum = header.pop("__metadata__")["crc32"]
        arrays = {name: _view(content[8 + length :], entry) for name, entry in header.items()}
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: damaged header") from error
    if _checksum(arrays) != checksum:
        raise ValueError(f"{file}: wrong checksum")
    return arrays


def _view(content: npt.NDArray[np.uint8], entry: dict[str, Any]) -> npt.NDArray[np.generic]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[str(entry["dtype"])])
    return content[int(begin) : int(end)].view(dtype).reshape([int(side) for side in entry["shape"]])


def _checksum(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    value = 0
    for name in sorted(arrays):
        array = arrays[name]
        value = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, value)
    return f"{value:08x}"
