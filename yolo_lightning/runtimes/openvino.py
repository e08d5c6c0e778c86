"""Directories of OpenVINO models, run on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f32", "int8": "f32"}


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens the model in a directory; with as many threads as PyTorch has.

    Raises:
        InputError: If OpenVINO is not installed, or refuses the model, or there is none or several.
    """
    openvino = require("openvino", "openvino", "to run OpenVINO models")
    if device.type != "cpu":
        raise InputError(f"OpenVINO models run on the cpu here, not on {device}")
    models = sorted(path.glob("*.xml"))
    if len(models) != 1:
        raise InputError(f"{path}: holds {len(models)} .xml files; an OpenVINO model has one")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": _HINTS[contract.precision],
    }
    try:
        compiled = openvino.Core().compile_model(models[0], "CPU", settings)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from ")]
        reason = " ".join(lines[:1]) or "it does not say why"
        raise InputError(f"{path}: OpenVINO cannot open it ({reason}): copy or export it again") from error
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Tensor:
        request.infer([images.cpu().numpy()], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return run


def read_contract(path: Path) -> str | None:
    """None: it is a file of the directory."""
    return None
