"""ONNX files, run by onnxruntime."""

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


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens a file; with as many threads as PyTorch has.

    Raises:
        InputError: If onnxruntime is not installed, cannot use the device, or refuses the file.
    """
    session = _open(path, device)
    name = contract.input.name

    def run(images: Tensor) -> Tensor:
        (answer,) = session.run(None, {name: images.cpu().numpy()})
        return torch.from_numpy(answer)

    return run


def read_contract(path: Path) -> str | None:
    """The contract among the metadata of the file."""
    found: str | None = _open(path, torch.device("cpu")).get_modelmeta().custom_metadata_map.get(CONTRACT_KEY)
    return found


def _open(path: Path, device: torch.device) -> Any:
    runtime = require("onnxruntime", "onnx", "to run ONNX files")
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise InputError("onnxruntime here has no CUDA: install onnxruntime-gpu in its place, or use device cpu")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))  # type: ignore[arg-type]
    elif device.type != "cpu":
        raise InputError(f"ONNX files run on cpu or cuda, not on {device}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its own classes have no common one
        raise InputError(f"{path}: onnxruntime cannot open it ({error}): copy or export it again") from error
