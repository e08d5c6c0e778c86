"""TensorRT engines, from ONNX files, for the GPU that they are built on.

An engine is built by a GPU of NVIDIA and fits that kind alone. This was written after TensorRT's documentation and has
not been run: there was no GPU to run it on. On yours, the golden pair judges the engine, as it judges every file.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export import onnx
from yolo_lightning.export.onnx_int8 import quantize
from yolo_lightning.export.options import Job
from yolo_lightning.extras import require

__all__ = ["build", "libraries", "shapes", "write"]

_MOST_BATCH = 16
_MOST_SIDE = 2


def libraries() -> list[str]:
    """What is needed, beside a GPU.

    Raises:
        InputError: If something is missing.
    """
    require("tensorrt", "tensorrt", "to export to TensorRT")
    if not torch.cuda.is_available():
        raise InputError("TensorRT builds an engine on the NVIDIA GPU that it is for, and there is none here")
    return ["tensorrt", *onnx.libraries()]


def write(job: Job, path: Path) -> None:
    """Builds an engine, from an ONNX file that is not kept.

    Half precision and int8 are in the ONNX file, so that TensorRT computes in what the file says and in nothing less.
    With ``dynamic``, the engine takes up to 16 images, or the batch asked for if that is more, and sides up to twice
    those asked for.

    Raises:
        InputError: If the network cannot be exported, or TensorRT does not build it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        onnx.write(replace(job, options=replace(job.options, int8=False)), file)
        if job.options.int8:
            quantized = file.with_name("int8.onnx")
            # TensorRT has no zero points, and wants biases as they are.
            quantize(file, quantized, job, symmetric=True)
            file = quantized
        path.write_bytes(build(require("tensorrt", "tensorrt", "to export to TensorRT"), file.read_bytes(), job))


def build(tensorrt: Any, content: bytes, job: Job) -> bytes:
    """The engine of an ONNX file.

    Args:
        tensorrt: The library.
        content: Of the file.
        job: What it is for.

    Raises:
        InputError: If TensorRT does not know an operator, or cannot build it.
    """
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # From version 11 on there is no other kind of network.
    strong = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strong is None else 1 << int(strong))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(content):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise InputError(f"TensorRT cannot read the ONNX file of this network: {'; '.join(reasons) or 'no reason'}")
    config = builder.create_builder_config()
    if job.dynamic_axes:
        profile = builder.create_optimization_profile()
        profile.set_shape(job.contract.input.name, *shapes(job))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError("TensorRT could not build an engine of this network: what it printed says why")
    return bytes(engine)


def shapes(job: Job) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The least, usual and largest shape of the input."""
    least, usual, most = ([*job.example.shape] for _ in range(3))
    stride = job.contract.input.stride
    for axis, name in job.dynamic_axes.items():
        if name == "batch":
            least[axis], usual[axis] = 1, job.options.batch_size
            most[axis] = max(_MOST_BATCH, job.options.batch_size)
        else:
            least[axis], most[axis] = stride, usual[axis] * _MOST_SIDE
    return tuple(least), tuple(usual), tuple(most)
