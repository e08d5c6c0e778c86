"""Reads pickles without running anything that they name.

A pickle is a program that may name any function. This reader makes plain containers and knows four names (a
dictionary, a set, a tensor, a parameter); every other name gives a :class:`Stub`, which holds what the pickle says
about an object and does nothing.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import torch

from yolo_lightning.errors import InputError

__all__ = ["Storage", "Stub", "TensorRecord", "unpickle"]

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


class Storage(NamedTuple):
    """A block of numbers beside the pickle, by name."""

    dtype: torch.dtype
    key: str


class TensorRecord(NamedTuple):
    """What a pickle says about a tensor; nothing of it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class Stub:
    """Stands for an object of any class.

    Attributes:
        state: What the pickle would have restored the object from; None if nothing.
    """

    state: Any = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Takes and forgets the arguments of the function or class it stands for."""

    def __setstate__(self, state: object) -> None:
        """Keeps the state of the object as it is."""
        self.state = state

    def append(self, item: object) -> None:
        """Forgets an item of a list-like object."""

    def extend(self, items: object) -> None:
        """Forgets items of a list-like object."""

    def add(self, item: object) -> None:
        """Forgets an item of a set-like object."""

    def __setitem__(self, key: object, item: object) -> None:
        """Forgets an item of a dictionary-like object."""


class _OrderedDict(dict[Any, Any]):
    """A dictionary that may carry attributes, which are forgotten."""

    def __setstate__(self, state: object) -> None:
        """Forgets the attributes."""


class _StorageType(NamedTuple):
    dtype: torch.dtype


# Without attributes, so that a pickle cannot change these for later files.
class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> TensorRecord:
        return TensorRecord(storage, offset, size, stride)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: object, *_: object) -> object:
        return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


# The standard library's machine in Python rather than the one in C: a few bytes (a large memo index) make the latter
# fill the memory, and speed is no matter here.
class _StubUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        return type(f"{module}.{name}", (Stub,), {})

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage_type, key, *_ = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(key, str):
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        return Storage(storage_type.dtype, key)


def unpickle(data: bytes) -> Any:
    """The content of a pickle as plain containers, :class:`TensorRecord` and :class:`Stub`.

    Raises:
        InputError: If the pickle is broken, or tries what no file of weights needs.
    """
    try:
        return _StubUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a hostile pickle can raise anything
        raise InputError(f"broken or unsafe pickle ({type(error).__name__}: {error})") from error
