"""Files that ``torch.save`` makes: a zip archive of a pickle and blocks of numbers."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo_lightning.closing import Closing
from yolo_lightning.errors import InputError
from yolo_lightning.models.unpickler import Storage, TensorRecord, unpickle

__all__ = ["TorchArchive"]

_MAX_DIMENSIONS = 8
_MAX_EXPANSION = 4  # tensors may share their numbers, but not so that a small file fills the memory


class TorchArchive(Closing):
    """Reads such a file; runs nothing that it holds, and takes little more memory than the file has bytes.

    Use it in a ``with`` block.

    Args:
        path: The file.

    Raises:
        InputError: If it is not such a file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(f"the file is cut off or damaged ({error}): get it again") from error
        pickles = [name for name in self._zip.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise InputError("it is a zip archive, but not one that torch.save made")
        self._root = pickles[0].removesuffix("data.pkl")
        self._file_size = path.stat().st_size
        self._budget = _MAX_EXPANSION * self._file_size

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._zip.close()

    def load(self) -> Any:
        """The saved object as plain containers, stubs, and records of tensors.

        Raises:
            InputError: If the file is damaged or unsafe.
        """
        if f"{self._root}byteorder" in self._zip.namelist() and self._read("byteorder").strip() != b"little":
            raise InputError("its numbers are big-endian, which is not supported")
        return unpickle(self._read("data.pkl"))

    def tensor(self, record: TensorRecord) -> Tensor:
        """The tensor of a record, in memory of its own.

        Raises:
            InputError: If the record does not fit the numbers in the file.
        """
        storage, (offset,), size, stride = _check_record(record)
        numel, itemsize = math.prod(size), storage.dtype.itemsize
        self._budget -= numel * itemsize
        if self._budget < 0:
            raise InputError("its tensors are larger than the file: it is damaged or unsafe")
        if numel == 0:
            return torch.empty(size, dtype=storage.dtype)
        data = self._read(f"data/{storage.key}")
        num_values = len(data) // itemsize
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if last >= num_values or numel > num_values:
            raise InputError(f"a tensor of shape {size} needs more numbers than the file holds for it ({num_values})")
        values = torch.frombuffer(bytearray(data), dtype=storage.dtype, count=num_values)
        return values.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)

    def _read(self, name: str) -> bytes:
        try:
            info = self._zip.getinfo(self._root + name)
        except KeyError as error:
            raise InputError(f"{name} is missing from it") from error
        # torch.save never compresses; what is stored cannot unfold to more than the file.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self._file_size:
            raise InputError(f"{name} in it is compressed or larger than the file: it is damaged or unsafe")
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise InputError(f"{name} in it is damaged ({error}): get the file again") from error


def _check_record(record: TensorRecord) -> tuple[Storage, tuple[int], tuple[int, ...], tuple[int, ...]]:
    storage, offset, size, stride = record
    counts_are_sound = _are_counts((offset,)) and _are_counts(size) and _are_counts(stride)
    if not (isinstance(storage, Storage) and counts_are_sound and len(size) == len(stride) <= _MAX_DIMENSIONS):
        raise InputError(f"malformed tensor {record}")
    return storage, (offset,), size, stride


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 2**48 for value in values)
