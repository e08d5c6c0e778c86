"""Packages of AOTInductor: the network compiled for processors like this one."""

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
    """What is needed, beside a C++ compiler.

    Raises:
        InputError: If there is no compiler.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise InputError(
            f"AOTInductor needs a C++ compiler ({first_line(error)}): install g++ (the package g++ or gcc-c++ of the "
            "system), or name one in the environment variable CXX"
        ) from error
    return ["torch"]


def write(job: Job, path: Path) -> None:
    """Compiles the network, with the contract among the metadata of the package.

    Raises:
        InputError: If it cannot be exported or compiled.
    """
    settings = {"aot_inductor.metadata": {CONTRACT_KEY: job.contract.to_json()}}
    try:
        with quiet_exporters(), torch.no_grad():
            program = torch.export.export(job.network, (job.example,), dynamic_shapes=dynamic_shapes(job))
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
    except Exception as error:  # exporter and compiler have no common one
        raise InputError(f"PyTorch cannot compile this network: {first_line(error)}") from error
