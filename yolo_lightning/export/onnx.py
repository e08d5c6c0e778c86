"""ONNX files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import dynamic_shapes, quiet_exporters
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import CONTRACT_KEY
from yolo_lightning.text import first_line

__all__ = ["LOWEST_OPSET", "libraries", "write"]

LOWEST_OPSET = 18
"""PyTorch's exporter writes this one at least."""


def libraries() -> list[str]:
    """What is needed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, "onnx", "to export to ONNX")
    return ["onnx", "onnxscript", "onnxruntime"]


def write(job: Job, path: Path) -> None:
    """Writes a file, with the contract among its metadata.

    Raises:
        InputError: If the network cannot be exported, or not in this opset.
    """
    onnx = require("onnx", "onnx", "to export to ONNX")
    model = _export(job)
    _add_metadata(model, job)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise InputError(f"the ONNX file of this network would not be valid: {first_line(error)}") from error
    if not job.options.int8:
        onnx.save(model, path)
        return
    from yolo_lightning.export.onnx_int8 import quantize

    float_path = path.with_name("float.onnx")
    onnx.save(model, float_path)
    quantize(float_path, path, job)
    float_path.unlink()


def _export(job: Job) -> Any:
    opset = job.options.opset
    if opset is not None and opset < LOWEST_OPSET:
        raise InputError(f"opset is {opset}; PyTorch exports {LOWEST_OPSET} or higher")
    highest = require("onnx", "onnx", "to export to ONNX").defs.onnx_opset_version()
    if opset is not None and opset > highest:
        raise InputError(f"opset is {opset}; the onnx that is installed knows no higher one than {highest}")
    try:
        with quiet_exporters():
            program = torch.onnx.export(
                job.network,
                (job.example,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=[job.contract.input.name],
                output_names=[job.contract.output.name],
                dynamic_shapes=dynamic_shapes(job),
            )
    except Exception as error:  # its own classes have no common one
        raise InputError(f"PyTorch cannot export this network to ONNX: {first_line(error)}") from error
    assert program is not None
    model = program.model_proto
    made = next(used.version for used in model.opset_import if used.domain == "")
    if opset not in (None, made):  # where the exporter cannot convert, it says so in a log and goes on
        raise InputError(f"PyTorch exports this network in opset {made}, not in {opset}: leave --opset out")
    return model


def _add_metadata(model: Any, job: Job) -> None:
    """The contract, and what programs for YOLOv5's own files look for."""
    contract = job.contract
    values = {
        CONTRACT_KEY: contract.to_json(),
        "stride": str(contract.input.stride),
        "names": json.dumps(dict(enumerate(contract.class_names)), ensure_ascii=False),
    }
    for name, value in values.items():
        model.metadata_props.add(key=name, value=value)
