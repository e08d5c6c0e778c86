"""Directories of OpenVINO models."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_lightning.errors import InputError
from yolo_lightning.export import onnx
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import quiet_exporters
from yolo_lightning.extras import require
from yolo_lightning.text import first_line

__all__ = ["libraries", "write"]


def libraries() -> list[str]:
    """What is needed."""
    with quiet_exporters():  # versions tell what they will no longer have
        require("openvino", "openvino", "to export to OpenVINO")
    return ["openvino", *onnx.libraries()]


def write(job: Job, path: Path) -> None:
    """Makes the directory, from an ONNX file that is not kept.

    Raises:
        InputError: If the network cannot be exported.
    """
    openvino = require("openvino", "openvino", "to export to OpenVINO")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        # Halved and quantized here, not there.
        onnx.write(replace(job, options=replace(job.options, int8=False)), file)
        try:
            with quiet_exporters():
                model = openvino.Core().read_model(file)
                if job.options.int8:
                    model = _quantize(model, job)
                path.mkdir()
                openvino.save_model(model, path / "model.xml", compress_to_fp16=job.options.half)
        except RuntimeError as error:
            raise InputError(f"OpenVINO cannot convert this network: {first_line(error)}") from error


def _quantize(model: Any, job: Job) -> Any:
    nncf = require("nncf", "openvino", "to export to OpenVINO in int8")
    assert job.calibration is not None
    images = list(job.calibration())
    return nncf.quantize(
        model,
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=_decoding(model, nncf),
    )


def _decoding(model: Any, nncf: Any) -> Any:
    """What follows the last convolutions: coordinates of pixels, which 256 values do not hold."""
    waiting = [node for node in model.get_ordered_ops() if node.get_type_name() == "Result"]
    names: set[str] = set()
    while waiting:
        for source in waiting.pop().inputs():
            node = source.get_source_output().get_node()
            name = node.get_friendly_name()
            if node.get_type_name() in ("Convolution", "Constant", "Parameter") or name in names:
                continue
            names.add(name)
            waiting.append(node)
    return nncf.IgnoredScope(names=sorted(names), validate=False)
