"""Programs of ``torch.export``, run by PyTorch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract
from yolo_lightning.runtimes.detector import Run
from yolo_lightning.runtimes.pt2_check import check_program

__all__ = ["open_file", "read_contract"]


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a file.

    Raises:
        InputError: If it holds more than a network, or PyTorch refuses it.
    """
    module = _open(path)[0].module().to(device)

    def run(images: Tensor) -> Tensor:
        answer: Tensor = module(images.to(device))
        return answer

    return run


def read_contract(path: Path) -> str | None:
    """The contract among the extra files in it."""
    return _open(path)[1]


def _open(path: Path) -> tuple[Any, str | None]:
    extra = {CONTRACT_KEY: ""}
    try:
        content = path.read_bytes()
        check_program(content)
        program = torch.export.load(io.BytesIO(content), extra_files=extra)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # whatever a damaged archive leads to
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: PyTorch cannot open it ({reason}): copy or export it again") from error
    return program, extra[CONTRACT_KEY] or None
