"""LiteRT files (``.tflite``), for telephones and small devices, made by Google's ``litert-torch``."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.extras import require
from yolo_lightning.text import first_line

__all__ = ["libraries", "write"]


def libraries() -> list[str]:
    """What is needed."""
    _converter()
    require("ai_edge_litert.interpreter", "litert", "to run LiteRT files")
    return ["litert-torch", "ai-edge-litert"]


def write(job: Job, path: Path) -> None:
    """Converts the network; the format has no place for the contract, which lies beside the file.

    Raises:
        InputError: If it cannot be converted.
    """
    litert = _converter()
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the converter tells of every step
    try:
        with quiet_exporters(), torch.no_grad(), _Products():
            litert.convert(job.network, (job.example,)).export(str(path))
    except Exception as error:  # its own classes have no common one
        raise InputError(f"litert-torch cannot convert this network: {first_line(error)}") from error
    finally:
        logging.disable(disabled)


class _Products(TorchFunctionMode):
    """Traces squares as products, which are the same numbers: LiteRT has no powers of tensors of five axes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replaces one function by another."""
        if func in (torch.square, torch.Tensor.square):
            return torch.mul(args[0], args[0])
        return func(*args, **(kwargs or {}))


def _converter() -> Any:
    try:
        return import_module("litert_torch")
    except ImportError as error:
        # It asks for an older typing-extensions than wandb does, so that no extra can install it.
        raise InputError(
            f"litert-torch is needed to export to LiteRT ({error}): install 'yolo-lightning[litert]' and then it, by "
            "`pip install --no-deps litert-torch` and what that misses, or by `uv pip install litert-torch --override "
            "FILE` where FILE has the line typing-extensions>=4.14"
        ) from error
