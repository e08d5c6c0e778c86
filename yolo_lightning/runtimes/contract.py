"""What a consumer of an exported file must know, as JSON beside the file: no other source is needed to use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

from yolo_lightning.errors import InputError
from yolo_lightning.paths import replacing
from yolo_lightning.typed_json import from_json

__all__ = [
    "CONTRACT_KEY",
    "Contract",
    "ExportedFile",
    "Input",
    "Letterboxing",
    "Library",
    "Output",
    "Suppression",
    "Thresholds",
    "contract_path",
    "golden_path",
]

CONTRACT_KEY = "yolo_lightning_contract"
"""Name of the contract among the metadata of formats that have some."""

_FORMAT = "yolo-lightning export"
_VERSION = 1
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Input:
    """The images that the file takes.

    Args:
        name: Name of the input.
        dtype: ``float32`` in 0…1, or ``uint8`` in 0…255.
        layout: Order of the axes: batch, channels, height, width.
        color: Order of three channels.
        channels: How many there are.
        batch: Images in a batch; None takes any number.
        height: In pixels; None takes any multiple of ``stride``.
        width: As ``height``.
        stride: See ``height``.
    """

    name: str
    dtype: Literal["float32", "uint8"]
    layout: Literal["NCHW", "NHWC"]
    color: Literal["RGB"]
    channels: int
    batch: int | None
    height: int | None
    width: int | None
    stride: int


@dataclass(frozen=True)
class Letterboxing:
    """How an image becomes an input: scaled by one factor to just fit, then padded alike on both sides.

    Args:
        value: Grey level of the padding, 0…255.
        interpolation: How it is scaled.
        upscale: Whether smaller images are enlarged.
    """

    value: int
    interpolation: Literal["bilinear"] = "bilinear"
    upscale: bool = True


@dataclass(frozen=True)
class Output:
    """What the file answers; boxes are in pixels of the input.

    Args:
        name: Name of the output.
        layout: ``rows``: (batch, N, 5 + classes) float32, each row centre x, centre y, width, height, objectness and
            the probability of each class; the score of a class is objectness times probability. ``detections``: (n, 7)
            float32, each row number of the image in the batch, left, top, right, bottom, score and class, image by
            image by descending score.
    """

    name: str
    layout: Literal["rows", "detections"]


@dataclass(frozen=True)
class Thresholds:
    """What ``rows`` are usually read with: boxes above the confidence, of which one suppresses those of its class.

    Args:
        confidence: 0…1.
        iou: Overlap, 0…1.
        max_detections: Most boxes of an image.
    """

    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 1000


@dataclass(frozen=True)
class Suppression(Thresholds):
    """The suppression in the file, with its own thresholds; a box is reported for its best class only.

    Args:
        operator: Whose operator does it.
    """

    operator: Literal["onnx", "torchvision", "tensorrt"] = "onnx"


@dataclass(frozen=True)
class Library:
    """A library that made the file.

    Args:
        name: As it is installed.
        version: Its version.
    """

    name: str
    version: str


@dataclass(frozen=True)
class ExportedFile:
    """A file of the export.

    Args:
        name: Path to it from the directory of the contract.
        sha256: Hash of its bytes, hexadecimal.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Contract:
    """All that a consumer must know.

    Args:
        runtime: Format of the file: ``onnx``, ``openvino``, ``torchscript``, ``torch_export`` and so on.
        precision: What the network computes in.
        class_names: Names of the classes, in the order of the rows.
        strides: Pixels of each level of the network, fine to coarse.
        input: What it takes.
        letterbox: How images become inputs.
        output: What it answers.
        thresholds: What ``rows`` are usually read with.
        suppression: That in the file; None without one.
        tolerance: Pixels by which a box may differ from the network's, as was checked when the file was made; None if
            any number.
        libraries: What made it.
        files: Files of the export, the first of them the one to open; empty where the contract is inside the file.
    """

    runtime: str
    precision: Literal["float32", "float16", "bfloat16", "int8"]
    class_names: tuple[str, ...]
    strides: tuple[int, ...]
    input: Input
    letterbox: Letterboxing
    output: Output
    thresholds: Thresholds
    suppression: Suppression | None
    tolerance: float | None
    libraries: tuple[Library, ...]
    files: tuple[ExportedFile, ...] = ()

    def to_json(self) -> str:
        """As text."""
        return json.dumps(
            {"format": _FORMAT, "version": _VERSION, **asdict(self)}, indent=2, ensure_ascii=False, allow_nan=False
        )

    @classmethod
    def from_text(cls, text: str | bytes, where: object) -> Self:
        """The contract of :meth:`to_json`.

        Args:
            text: It.
            where: What it was read from, for messages.

        Raises:
            InputError: If it is none.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
                raise ValueError("it is no contract of an export")
            if (version := values.pop("version", None)) != _VERSION:
                raise ValueError(f"it has version {version}, this library reads {_VERSION}")
            contract: Self = from_json(cls, values)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: the contract cannot be read ({error}): export the network again") from error
        return contract

    def write(self, path: Path, files: Mapping[str, Path]) -> Self:
        """Writes it beside the files that it is of, with their hashes; returns it with these.

        Args:
            path: Where to, see :func:`contract_path`.
            files: What the files will be called, and where they lie.

        Raises:
            OSError: If a file cannot be read or written.
        """
        hashes = tuple(ExportedFile(name, _hash(file)) for name, file in files.items())
        contract = replace(self, files=hashes)
        with replacing(path) as temporary:
            temporary.write_text(contract.to_json(), encoding="utf-8")
        return contract

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what :meth:`write` wrote, and compares the files with it.

        Raises:
            InputError: If it is none, or a file is missing or another than that of the contract.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise InputError(f"{path}: too large for a contract of an export")
            contract = cls.from_text(path.read_bytes(), path)
            for file in contract.files:
                _check_file(path, file)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        return contract


def contract_path(path: Path) -> Path:
    """Where the contract of an exported file lies; of a directory, in it."""
    return path / "contract.json" if path.is_dir() else path.with_name(f"{path.name}.json")


def golden_path(path: Path) -> Path:
    """Where the golden input and output of an exported file lie; of a directory, in it."""
    return path / "golden.npz" if path.is_dir() else path.with_name(f"{path.name}.npz")


def _check_file(path: Path, file: ExportedFile) -> None:
    if not file.name or Path(file.name).is_absolute() or ".." in Path(file.name).parts:
        raise InputError(f"{path}: {file.name!r} is no plain name of a file of the export")
    other = path.parent / file.name
    if not other.is_file():
        raise InputError(f"{other}: is missing, though {path.name} names it: copy all files of the export")
    if _hash(other) != file.sha256:
        raise InputError(
            f"{other}: is not the file that {path.name} was made for: it is damaged or of another export. Copy both "
            "again, or export the network again"
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
