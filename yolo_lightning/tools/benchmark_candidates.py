"""The ways to run a network: as it is, compiled, and in each exported format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.data import SyntheticShapes
from yolo_lightning.errors import InputError
from yolo_lightning.export import FORMATS, ExportOptions, Format, export_network
from yolo_lightning.models import Detector, compile_detector
from yolo_lightning.runtimes import RUNTIMES, ExportedDetector, contract_path, golden_path, load_exported
from yolo_lightning.tools.export_images import calibration_batches, fitted_images

__all__ = ["CANDIDATES", "Candidate", "Network", "Ready", "Setting", "default_candidates", "find_candidates"]

Precision = Literal["float32", "bfloat16", "float16", "int8"]
_CALIBRATION_IMAGES = 100
_ON_CPU = ("aotinductor", "executorch", "litert", "openvino")
Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, C, H, W) float32 in 0…1 to boxes (B, N, 4) and scores (B, N, classes) before suppression."""


@dataclass(frozen=True)
class Network:
    """A network to be run.

    Args:
        path: The file of its weights.
        label: What it is called.
        detector: It, plain, on the CPU.
        class_names: Names of its classes.
    """

    path: Path
    label: str
    detector: Detector
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What it is to be run on.

    Args:
        device: Where.
        image_size: Height and width of the images in pixels.
        batch_size: Images that go through it together; always so many.
        folder: Where files may be written, for this batch size alone.
        data: The data.yaml that has images for int8, if there is one.
    """

    device: torch.device
    image_size: tuple[int, int]
    batch_size: int
    folder: Path
    data: Path | None = None


@dataclass(frozen=True)
class Ready:
    """A network that can be run.

    Args:
        run: Runs it.
        num_bytes: Size of the file that is needed.
    """

    run: Run
    num_bytes: int


@dataclass(frozen=True)
class Candidate:
    """A way to run a network.

    Args:
        name: What it is called.
        about: What it is, in a few words.
        prepare: Makes it ready; raises what it likes if it cannot run here.
        device: The only kind of device that it is for, if there is one.
        needs_data: Whether it needs images of a data set.
    """

    name: str
    about: str
    prepare: Callable[[Network, Setting], Ready]
    device: Literal["cpu", "cuda"] | None = None
    needs_data: bool = False


def _eager(dtype: torch.dtype, *, compiled: bool = False) -> Callable[[Network, Setting], Ready]:
    """The network in PyTorch, fused, as ``detect`` runs it."""

    def prepare(network: Network, setting: Setting) -> Ready:
        if dtype == torch.float16 and setting.device.type == "cpu":
            raise InputError("float16 needs a GPU")
        detector = network.detector.fuse().to(setting.device, dtype).to(memory_format=torch.channels_last)
        detector.requires_grad_(False)
        if compiled:
            compile_detector(detector, dynamic=False)

        def run(images: Tensor) -> tuple[Tensor, Tensor]:
            return detector.decode(detector(images.to(dtype)))

        return Ready(run, network.path.stat().st_size)

    return prepare


def _exported(kind: Format, precision: Precision) -> Callable[[Network, Setting], Ready]:
    """The network in an exported file for images and batches of one size; the file is checked as by ``export``."""

    def prepare(network: Network, setting: Setting) -> Ready:
        size, count = setting.image_size, setting.batch_size
        shapes = SyntheticShapes(split="val", num_val_images=count, image_size=size)
        options = ExportOptions(size, count, half=precision == "float16", int8=precision == "int8")
        path = setting.folder / f"network{kind.suffix}"

        def calibration() -> Iterator[npt.NDArray[np.uint8]]:
            assert setting.data is not None
            return calibration_batches(setting.data, _CALIBRATION_IMAGES, size, count)

        export_network(
            network.detector,
            network.class_names,
            kind.name,
            path,
            options,
            images=torch.from_numpy(fitted_images(shapes, range(count), size)),
            calibration=None if setting.data is None else calibration,
        )
        detector = load_exported(path, setting.device, allow_native_code=True)
        if precision == "bfloat16":  # the runtime's choice: the file is that for float32
            contract = replace(detector.contract, precision=precision)
            run_file = RUNTIMES[kind.name].open_file(path, contract, setting.device)
            detector = ExportedDetector(contract, run_file, path)
        return Ready(lambda images: detector.decode(detector(images)), _num_bytes(path))

    return prepare


def _num_bytes(path: Path) -> int:
    """Of the files that are needed to run it."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file not in (contract_path(path), golden_path(path)))


def _candidates_of(kind: Format) -> Iterator[Candidate]:
    device: Literal["cpu", "cuda"] | None = None
    if kind.name in _ON_CPU or kind.name == "tensorrt":
        device = "cpu" if kind.name in _ON_CPU else "cuda"
    yield Candidate(kind.name, f"{kind.about}; float32", _exported(kind, "float32"), device)
    if kind.name == "openvino":
        yield Candidate(f"{kind.name}-bf16", f"{kind.about}; bfloat16", _exported(kind, "bfloat16"), "cpu")
    if "half" in kind.abilities and device != "cpu":
        yield Candidate(f"{kind.name}-fp16", f"{kind.about}; float16", _exported(kind, "float16"), "cuda")
    if "int8" in kind.abilities:
        yield Candidate(
            f"{kind.name}-int8", f"{kind.about}; int8", _exported(kind, "int8"), device or "cpu", needs_data=True
        )


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("eager", "PyTorch, float32", _eager(torch.float32)),
        Candidate("eager-bf16", "PyTorch, bfloat16", _eager(torch.bfloat16)),
        Candidate("eager-fp16", "PyTorch, float16", _eager(torch.float16), device="cuda"),
        Candidate("compiled", "torch.compile, float32", _eager(torch.float32, compiled=True)),
        Candidate("compiled-bf16", "torch.compile, bfloat16", _eager(torch.bfloat16, compiled=True)),
        Candidate("compiled-fp16", "torch.compile, float16", _eager(torch.float16, compiled=True), device="cuda"),
        *(candidate for kind in FORMATS.values() if kind.name in RUNTIMES for candidate in _candidates_of(kind)),
    )
}
"""By name."""


def default_candidates(device: torch.device, *, has_data: bool) -> list[Candidate]:
    """Those that are for a device, and find what they need."""
    return [
        candidate
        for candidate in CANDIDATES.values()
        if candidate.device in (None, device.type) and (has_data or not candidate.needs_data)
    ]


def find_candidates(names: list[str]) -> list[Candidate]:
    """The candidates of names.

    Raises:
        InputError: If there is no such one.
    """
    for name in names:
        if name not in CANDIDATES:
            raise InputError(f"there is no candidate {name!r}: use {', '.join(CANDIDATES)}")
    return [CANDIDATES[name] for name in dict.fromkeys(names)]
