"""TorchScript files."""

from __future__ import annotations

from pathlib import Path

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.runtimes.contract import CONTRACT_KEY
from yolo_lightning.text import first_line

__all__ = ["libraries", "write"]


def libraries() -> list[str]:
    """What is needed."""
    return ["torch"]


def write(job: Job, path: Path) -> None:
    """Traces the network, with the contract among the extra files.

    Raises:
        InputError: If it cannot be traced.
    """
    try:
        with quiet_exporters(), torch.no_grad():
            traced = torch.jit.trace(job.network, (job.example,), strict=False, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
            torch.jit.save(frozen, str(path), _extra_files={CONTRACT_KEY: job.contract.to_json()})
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"PyTorch cannot trace this network: {first_line(error)}") from error
