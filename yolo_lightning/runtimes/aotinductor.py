"""Packages of AOTInductor, run by PyTorch on the CPU.

They hold a shared library: to open one is to run a program, so :func:`~yolo_lightning.runtimes.load_exported` does it
only if it is told to. The contract is read without that.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]

_MOST_BYTES = 16 * 2**20


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a package, which runs what it holds.

    Raises:
        InputError: If the device is no CPU, or PyTorch refuses the package.
    """
    if device.type != "cpu":
        raise InputError(f"{path}: AOTInductor compiled it for the cpu, not for {device}")
    try:
        model = torch._inductor.aoti_load_package(str(path))
    except Exception as error:  # whatever a damaged package leads to
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: PyTorch cannot open it ({reason}): export it again, with this PyTorch and on a processor like "
            "this one"
        ) from error

    def run(images: Tensor) -> Tensor:
        answer: Tensor = model(images.to(device))
        return answer

    return run


def read_contract(path: Path) -> str | None:
    """The contract among the metadata of the package."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith("_metadata.json") or info.file_size > _MOST_BYTES:
                    continue
                found = json.loads(archive.read(info))
                if isinstance(found, dict) and isinstance(text := found.get(CONTRACT_KEY), str):
                    return text
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no package of AOTInductor, or is damaged ({error})") from error
    return None
