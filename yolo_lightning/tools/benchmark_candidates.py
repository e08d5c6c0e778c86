"""The ways to run a network: as it is, compiled, and in each exported format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector, compile_detector

__all__ = ["CANDIDATES", "Candidate", "Network", "Ready", "Setting", "default_candidates", "find_candidates"]

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
    """

    device: torch.device
    image_size: tuple[int, int]
    batch_size: int
    folder: Path


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


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("eager", "PyTorch, float32", _eager(torch.float32)),
        Candidate("eager-bf16", "PyTorch, bfloat16", _eager(torch.bfloat16)),
        Candidate("eager-fp16", "PyTorch, float16", _eager(torch.float16), device="cuda"),
        Candidate("compiled", "torch.compile, float32", _eager(torch.float32, compiled=True)),
        Candidate("compiled-bf16", "torch.compile, bfloat16", _eager(torch.bfloat16, compiled=True)),
        Candidate("compiled-fp16", "torch.compile, float16", _eager(torch.float16, compiled=True), device="cuda"),
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
