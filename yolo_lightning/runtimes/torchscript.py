"""TorchScript files, run by PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a file.

    Raises:
        InputError: If PyTorch refuses it.
    """
    module, _ = _open(path, device)

    def run(images: Tensor) -> Tensor:
        answer: Tensor = module(images.to(device))
        return answer

    return run


def read_contract(path: Path) -> str | None:
    """The contract among the extra files in it."""
    return _open(path, torch.device("cpu"))[1]


def _open(path: Path, device: torch.device) -> tuple[Any, str | None]:
    extra = {CONTRACT_KEY: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated: it is what the user asked for
            module = torch.jit.load(str(path), map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: PyTorch cannot open it ({reason}): copy or export it again") from error
    text: str | bytes = extra[CONTRACT_KEY]
    return module.eval(), (text.decode() if isinstance(text, bytes) else text) or None
