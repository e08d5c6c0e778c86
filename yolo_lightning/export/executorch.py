"""Programs of ExecuTorch, for telephones and small devices, computed by XNNPACK."""

from __future__ import annotations

from pathlib import Path

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import CONTRACT_KEY
from yolo_lightning.text import first_line

__all__ = ["libraries", "write"]

_PARTITIONER = "executorch.backends.xnnpack.partition.xnnpack_partitioner"


def libraries() -> list[str]:
    """What is needed."""
    require("executorch.exir", "executorch", "to export to ExecuTorch")
    return ["executorch"]


def write(job: Job, path: Path) -> None:
    """Lowers the network to XNNPACK, with the contract as a method that returns it.

    Raises:
        InputError: If it cannot be exported.
    """
    exir = require("executorch.exir", "executorch", "to export to ExecuTorch")
    xnnpack = require(_PARTITIONER, "executorch", "to export to ExecuTorch")
    try:
        with quiet_exporters(), torch.no_grad():
            program = torch.export.export(job.network, (job.example,))
            lowered = exir.to_edge_transform_and_lower(
                program,
                partitioner=[xnnpack.XnnpackPartitioner()],
                constant_methods={CONTRACT_KEY: job.contract.to_json()},
            )
            content = lowered.to_executorch().buffer
    except Exception as error:  # its own classes have no common one
        raise InputError(f"ExecuTorch cannot export this network: {first_line(error)}") from error
    path.write_bytes(content)
