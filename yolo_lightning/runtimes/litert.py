"""LiteRT files, run by Google's interpreter on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a file; with as many threads as PyTorch has.

    Raises:
        InputError: If the interpreter is not installed, cannot use the device, or refuses the file.
    """
    runtime = require("ai_edge_litert.interpreter", "litert", "to run LiteRT files")
    if device.type != "cpu":
        raise InputError(f"LiteRT files run on the cpu here, not on {device}")
    try:
        interpreter = runtime.Interpreter(model_content=path.read_bytes(), num_threads=torch.get_num_threads())
        interpreter.allocate_tensors()
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: LiteRT cannot open it ({reason}): copy or export it again") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; an exported network has one each"
        )

    def run(images: Tensor) -> Tensor:
        interpreter.set_tensor(inputs[0]["index"], images.cpu().numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(outputs[0]["index"]))

    return run


def read_contract(path: Path) -> str | None:
    """None: the format has no place for it."""
    return None
