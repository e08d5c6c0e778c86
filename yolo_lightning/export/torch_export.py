"""Programs of ``torch.export``."""

from __future__ import annotations

from pathlib import Path

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import dynamic_shapes, quiet_exporters
from yolo_lightning.runtimes.contract import CONTRACT_KEY
from yolo_lightning.text import first_line

__all__ = ["libraries", "write"]


def libraries() -> list[str]:
    """What is needed."""
    return ["torch"]


def write(job: Job, path: Path) -> None:
    """Exports the network, with the contract among the extra files.

    Raises:
        InputError: If it cannot be exported.
    """
    try:
        with quiet_exporters(), torch.no_grad():
            program = torch.export.export(job.network, (job.example,), dynamic_shapes=dynamic_shapes(job))
            program.example_inputs = None  # which would be saved, too
            torch.export.save(program, path, extra_files={CONTRACT_KEY: job.contract.to_json()})
    except Exception as error:  # its own classes have no common one
        raise InputError(f"PyTorch cannot export this network: {first_line(error)}") from error
