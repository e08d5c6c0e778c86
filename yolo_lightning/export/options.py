"""What an export is asked for, and what each format can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.models import Detector
from yolo_lightning.runtimes import RUNTIMES, load_exported
from yolo_lightning.runtimes.contract import Contract, Thresholds

__all__ = ["FORMATS", "ExportOptions", "Format", "Job", "find_format"]

Ability = Literal["dynamic", "half", "int8", "nms", "preprocess"]


@dataclass(frozen=True)
class ExportOptions:
    """What an export is asked for.

    Args:
        image_size: Height and width of the images in pixels; with ``dynamic`` those of the example that is traced.
        batch_size: Images in a batch.
        dynamic: Any batch, and any height and width that are multiples of the stride. With ``nms``, the batch stays.
        half: The network computes in float16; input and output stay float32.
        int8: The network computes in 8-bit integers, whose ranges come from images (calibration).
        preprocess: Takes (B, H, W, C) uint8 in 0…255 instead of (B, C, H, W) float32 in 0…1.
        nms: Answers with detections: suppression is in the file.
        thresholds: Those of ``nms``, and what the contract advises otherwise.
        opset: Version of ONNX's operators; None takes the library's choice.
    """

    image_size: tuple[int, int] = (640, 640)
    batch_size: int = 1
    dynamic: bool = False
    half: bool = False
    int8: bool = False
    preprocess: bool = False
    nms: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    opset: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.half and self.int8:
            raise InputError("a network computes in float16 (half) or in int8: choose one")
        for name, value in (("confidence", self.thresholds.confidence), ("iou", self.thresholds.iou)):
            if not 0 <= value <= 1:
                raise InputError(f"the {name} threshold is {value}; it must be between 0 and 1")
        if self.thresholds.max_detections < 1:
            raise InputError(f"max_detections is {self.thresholds.max_detections}; it must be at least 1")

    @property
    def precision(self) -> Literal["float32", "float16", "int8"]:
        """What the network computes in."""
        return "float16" if self.half else "int8" if self.int8 else "float32"

    @property
    def dtype(self) -> torch.dtype:
        """Of the network before it is quantized."""
        return torch.float16 if self.half else torch.float32


@dataclass(frozen=True)
class Job:
    """What a format has to write.

    Args:
        network: The network.
        detector: Of it, as it was given: not fused.
        contract: Of the file, without hashes; goes into the file where the format has a place for it.
        example: An input of the kind that the contract says.
        options: What was asked for.
        calibration: Inputs to take ranges from, for int8.
    """

    network: ExportedNetwork
    detector: Detector
    contract: Contract
    example: Tensor
    options: ExportOptions
    calibration: Callable[[], Iterable[npt.NDArray[Any]]] | None = None

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Names of the axes of the input that may be of any length."""
        if not self.options.dynamic:
            return {}
        axes = {self.contract.input.layout.index("H"): "height", self.contract.input.layout.index("W"): "width"}
        return axes if self.options.nms else {0: "batch", **axes}


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        name: What ``--format`` calls it.
        suffix: End of the file's name.
        about: What it is, in a few words.
        module: Has ``write(job, path)`` and ``libraries()``; and ``load(path)``, if no runtime opens the file.
        abilities: What it can be asked for.
    """

    name: str
    suffix: str
    about: str
    module: str
    abilities: frozenset[Ability]

    def write(self, job: Job, path: Path) -> None:
        """Writes the file.

        Raises:
            InputError: If a library is missing, or cannot export the network.
        """
        import_module(self.module).write(job, path)

    def check_libraries(self) -> tuple[str, ...]:
        """Names of the libraries that it takes, which are there.

        Raises:
            InputError: If one is missing; the message names the extra that installs it.
        """
        return tuple(import_module(self.module).libraries())

    def load(self, path: Path) -> Detector | None:
        """The network in a file that was just written; None if such files cannot be run here.

        Raises:
            InputError: If the file cannot be opened.
        """
        if self.name in RUNTIMES:
            device = "cuda" if self.name == "tensorrt" else "cpu"
            return load_exported(path, device, allow_native_code=True)
        load: Callable[[Path], Detector] | None = getattr(import_module(self.module), "load", None)
        return None if load is None else load(path)

    def check(self, options: ExportOptions) -> None:
        """Makes sure that the format can do what is asked for.

        Raises:
            InputError: If it cannot.
        """
        for ability in ("dynamic", "half", "int8", "nms", "preprocess"):
            if getattr(options, ability) and ability not in self.abilities:
                able = ", ".join(f.name for f in FORMATS.values() if ability in f.abilities)
                raise InputError(f"{self.name} files cannot be exported with --{ability}; {able} can")
        if options.opset is not None and self.name not in ("onnx", "openvino", "tensorrt"):
            raise InputError(f"{self.name} files have no ONNX opset: leave --opset out")


def _formats(*rows: tuple[str, str, str, str]) -> dict[str, Format]:
    return {
        name: Format(name, suffix, about, f"yolo_lightning.export.{name}", frozenset(abilities.split()))  # type: ignore[arg-type]
        for name, suffix, about, abilities in rows
    }


FORMATS = _formats(
    ("onnx", ".onnx", "ONNX, for onnxruntime and many others", "dynamic half int8 nms preprocess"),
    ("openvino", "_openvino_model", "OpenVINO, for Intel processors", "dynamic half int8 nms preprocess"),
    ("torchscript", ".torchscript", "TorchScript, for libtorch", "dynamic half nms preprocess"),
    ("torch_export", ".pt2", "torch.export, for PyTorch without the network's code", "dynamic half preprocess"),
    ("aotinductor", ".aoti.pt2", "AOTInductor, compiled for processors like this one", "dynamic nms preprocess"),
    ("executorch", ".pte", "ExecuTorch, for telephones, computed by XNNPACK", "preprocess"),
    ("litert", ".tflite", "LiteRT, once TensorFlow Lite, for telephones", "preprocess"),
    ("tensorrt", ".engine", "TensorRT, for GPUs of NVIDIA", "dynamic half int8 nms preprocess"),
    ("coreml", "_coreml_model", "CoreML, for the devices of Apple", "half"),
    ("safetensors", "-weights.safetensors", "safetensors, weights for this library and others", "dynamic half"),
)
"""By name."""


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in FORMATS:
        raise InputError(f"there is no format {name!r}: use {', '.join(FORMATS)}")
    return FORMATS[name]
