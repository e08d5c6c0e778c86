"""CoreML models (ML Programs), for the devices of Apple.

They are made on any system, but run on macOS alone. Elsewhere the description of the model is compared with the
contract, and its answers with nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import CONTRACT_KEY
from yolo_lightning.text import first_line

__all__ = ["MODEL", "libraries", "write"]

MODEL = "network.mlpackage"
"""Name of the model in the directory."""


def libraries() -> list[str]:
    """What is needed."""
    _tools()
    return ["coremltools"]


def write(job: Job, path: Path) -> None:
    """Makes the directory with the model, which holds the contract among its metadata.

    Raises:
        InputError: If the network cannot be exported, or the model does not take and answer what the contract says.
    """
    tools = _tools()
    # In float32: CoreML halves it, and keeps in float32 what is about coordinates of pixels as it sees fit.
    network = ExportedNetwork(job.detector)
    target = tools.target.iOS16
    try:
        with quiet_exporters(), torch.no_grad():
            program = torch.export.export(network, (job.example,)).run_decompositions({})
            model = tools.convert(
                program,
                convert_to="mlprogram",
                inputs=[tools.TensorType(name=job.contract.input.name, shape=job.example.shape, dtype=np.float32)],
                outputs=[tools.TensorType(name=job.contract.output.name, dtype=np.float32)],
                compute_precision=tools.precision.FLOAT16 if job.options.half else tools.precision.FLOAT32,
                minimum_deployment_target=target,
                skip_model_load=True,
            )
            model.user_defined_metadata[CONTRACT_KEY] = job.contract.to_json()
            path.mkdir()
            model.save(str(path / MODEL))
    except Exception as error:  # its own classes have no common one
        raise InputError(f"coremltools cannot convert this network: {first_line(error)}") from error
    _check(tools, path / MODEL, job)


def _check(tools: Any, path: Path, job: Job) -> None:
    """Compares what is in the file with the contract."""
    description = tools.utils.load_spec(str(path)).description
    anchors = sum(job.detector.head.anchors.shape[1] * np.prod(size) for size in _grids(job))
    contract = job.contract
    wanted = [
        (contract.input.name, tuple(job.example.shape)),
        (contract.output.name, (len(job.example), int(anchors), 5 + len(contract.class_names))),
    ]
    features = [*description.input, *description.output]
    found = [(each.name, tuple(each.type.multiArrayType.shape)) for each in features]
    types = {each.type.multiArrayType.dataType for each in features}
    float32 = tools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    if found != wanted or types != {float32}:
        raise InputError(f"the CoreML model takes and answers {found}, where the contract says {wanted} in float32")


def _grids(job: Job) -> list[tuple[int, int]]:
    height, width = job.options.image_size
    return [(height // stride, width // stride) for stride in job.contract.strides]


def _tools() -> Any:
    with quiet_exporters():  # it warns of what only macOS has, and of versions that it was not tested with
        return require("coremltools", "coreml", "to export to CoreML")
