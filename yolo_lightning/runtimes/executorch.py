"""Programs of ExecuTorch, run by its Python runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]

_MAGIC = b"ET"


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a file.

    Raises:
        InputError: If ExecuTorch is not installed, cannot use the device, or refuses the file.
    """
    if device.type != "cpu":
        raise InputError(f"ExecuTorch programs run on the cpu here, not on {device}")
    program = _open(path)
    try:
        method = program.load_method("forward")
    except Exception as error:
        raise InputError(f"{path}: ExecuTorch cannot run it ({error}): export it again") from error

    def run(images: Tensor) -> Tensor:
        (answer,) = method.execute([images.cpu()])
        return torch.Tensor(answer).clone()  # the next call writes where it lies

    return run


def read_contract(path: Path) -> str | None:
    """The contract, which a method of the program returns."""
    program = _open(path)
    if CONTRACT_KEY not in program.method_names:
        return None
    (text,) = program.load_method(CONTRACT_KEY).execute([])
    return str(text)


def _open(path: Path) -> Any:
    runtime = require("executorch.runtime", "executorch", "to run ExecuTorch programs")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start[4:6] != _MAGIC:
            raise InputError(f"{path}: is no program of ExecuTorch: copy or export it again")
        return runtime.Runtime.get().load_program(path, verification=runtime.Verification.InternalConsistency)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise InputError(f"{path}: ExecuTorch cannot open it ({error}): copy or export it again") from error
