"""What a file of weights holds, whatever wrote it: published YOLOv5 files, checkpoints of this library, safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.models.archive import TorchArchive
from yolo_lightning.models.layers import BATCH_NORM_EPS
from yolo_lightning.models.unpickler import Stub, TensorRecord

__all__ = ["FORMAT_VERSION", "Checkpoint", "WeightsNotFoundError", "read_checkpoint"]

FORMAT_VERSION = "1"
"""Of the metadata in our safetensors files; a reader refuses any other."""

_OFFICIAL_NAME = re.compile(r"model\.\d+\.")
_KINDS = "a published YOLOv5 .pt, a checkpoint of this library (.ckpt) or .safetensors"


class WeightsNotFoundError(InputError, FileNotFoundError):
    """There is no file of weights at the path given."""


@dataclass
class Checkpoint:
    """Content of a file of weights.

    Args:
        tensors: By name; floating-point ones in float32 or, if the file has them so, float64.
        class_names: Names of the classes, if the file says.
        description: The network as plain values, if the file says: see :mod:`yolo_lightning.models.build`.
        config: The settings that a published file was trained with, if it has them: depth and width multiple, …
    """

    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None = None
    description: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_official(self) -> bool:
        """Whether the tensors have the names of published YOLOv5 files."""
        return any(_OFFICIAL_NAME.match(name) for name in self.tensors)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a file of weights; its content tells what it is, not its name. Runs nothing that the file holds.

    Raises:
        WeightsNotFoundError: If there is no such file; it is a FileNotFoundError too.
        InputError: If it holds no weights, or is damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory: give {_KINDS}")
    if not path.is_file():
        raise WeightsNotFoundError(f"weights {path} do not exist: give {_KINDS}, or a published name (yolov5s.pt)")
    try:
        checkpoint = _read(path)
    except InputError as error:
        raise InputError(f"cannot read weights from {path}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read weights from {path}: {error.strerror or error}") from error
    tensors = {name: _at_least_float32(tensor) for name, tensor in checkpoint.tensors.items()}
    checkpoint.tensors = _unfuse(tensors)
    return checkpoint


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise InputError(f"the file is empty; expected {_KINDS}")
    if start.startswith(b"PK"):
        return _read_torch(path)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start[:1] == b"\x80":
        raise InputError("it was written by PyTorch before 1.6: save it again with a newer one, or get a v6 or v7 file")
    raise InputError(f"it is no file of weights; expected {_KINDS}")


def _read_torch(path: Path) -> Checkpoint:
    with TorchArchive(path) as archive:
        content = archive.load()
        if not isinstance(content, dict):
            raise InputError(f"it holds a {type(content).__name__}, not a dictionary; expected {_KINDS}")
        if isinstance(content.get("state_dict"), dict):
            return _read_own(archive, content)
        module = content.get("ema") or content.get("model")
        if isinstance(module, Stub):
            return _read_module(archive, module)
        records = module if isinstance(module, dict) else content
        return Checkpoint(_require(_tensors(archive, records)))


def _read_own(archive: TorchArchive, content: dict[Any, Any]) -> Checkpoint:
    """A Lightning checkpoint; with the EMA, its ``state_dict`` is the averaged weights."""
    tensors = _tensors(archive, content["state_dict"])
    prefix = "detector."
    if any(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}  # left by torch.compile
    settings = content.get("hyper_parameters")
    settings = settings if isinstance(settings, dict) else {}
    description = settings.get("detector")
    return Checkpoint(
        _require(tensors),
        _class_names(settings.get("class_names")),
        description if isinstance(description, dict) else None,
    )


def _read_module(archive: TorchArchive, module: Stub) -> Checkpoint:
    """A published file, which holds a whole pickled module."""
    state = module.state if isinstance(module.state, dict) else {}
    config = state.get("yaml")
    return Checkpoint(
        _require(_tensors(archive, _module_records(module))),
        _class_names(state.get("names")),
        config=config if isinstance(config, dict) else {},
    )


def _module_records(root: Stub) -> dict[str, TensorRecord]:
    """Records of a module's parameters and buffers, named as ``state_dict`` names them. Loops are walked once."""
    records: dict[str, TensorRecord] = {}
    waiting: list[tuple[str, Any]] = [("", root)]
    seen: set[int] = set()
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, Stub) or not isinstance(module.state, dict) or id(module) in seen:
            continue
        seen.add(id(module))
        for kind in ("_parameters", "_buffers"):
            own = _entries(module.state, kind)
            records.update({f"{prefix}{name}": value for name, value in own if isinstance(value, TensorRecord)})
        children = [(f"{prefix}{name}.", child) for name, child in _entries(module.state, "_modules")]
        waiting.extend(reversed(children))
    return records


def _entries(state: dict[Any, Any], kind: str) -> list[tuple[str, Any]]:
    entries = state.get(kind)
    return [item for item in entries.items() if isinstance(item[0], str)] if isinstance(entries, dict) else []


def _tensors(archive: TorchArchive, records: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {}
    for name, record in records.items():
        if isinstance(name, str) and isinstance(record, TensorRecord):
            try:
                tensors[name] = archive.tensor(record)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
    return tensors


def _require(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise InputError(f"it holds no tensors; expected {_KINDS}")
    return tensors


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = _require({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise InputError(f"the safetensors file is damaged ({error}): get it again") from error
    # Files of others have metadata too, with other keys.
    return _described(tensors, metadata) if "format_version" in metadata else Checkpoint(tensors)


def _described(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> Checkpoint:
    """A file of our own; see :func:`yolo_lightning.models.save_weights`."""
    version = metadata["format_version"]
    if version != FORMAT_VERSION:
        raise InputError(
            f"it has format version {version}, this library reads {FORMAT_VERSION}: use the version that wrote it"
        )
    try:
        names, description = (json.loads(metadata.get(key, "null")) for key in ("class_names", "detector"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the metadata of the safetensors file are damaged ({error}): get it again") from error
    return Checkpoint(tensors, _class_names(names), description if isinstance(description, dict) else None)


def _class_names(names: object) -> tuple[str, ...] | None:
    """Class names from a list, or from a dictionary by number; None if they are neither."""
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor


def _unfuse(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives convolutions that were fused with their normalisation a normalisation that adds their bias and no more."""
    unfused: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix("conv.bias")
        if layer == name or f"{layer}bn.weight" in tensors or f"{layer}conv.weight" not in tensors:
            unfused[name] = tensor
            continue
        unfused[f"{layer}bn.weight"] = torch.full_like(tensor, (1 + BATCH_NORM_EPS) ** 0.5)
        unfused[f"{layer}bn.bias"] = tensor
        unfused[f"{layer}bn.running_mean"] = torch.zeros_like(tensor)
        unfused[f"{layer}bn.running_var"] = torch.ones_like(tensor)
        unfused[f"{layer}bn.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return unfused
