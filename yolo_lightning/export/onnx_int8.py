"""ONNX files in 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.export.tracing import first_line, quiet_exporters
from yolo_lightning.extras import require

__all__ = ["quantize"]


def quantize(source: Path, path: Path, job: Job) -> None:
    """Quantizes the convolutions of a float32 file, weights by channel, with onnxruntime's own tool.

    What decodes the boxes stays in float32: 256 values do not hold the coordinates of pixels.

    Raises:
        InputError: If the tool fails.
    """
    tool = require("onnxruntime.quantization", "onnx", "to export to ONNX in int8")
    shapes = require("onnxruntime.quantization.shape_inference", "onnx", "to export to ONNX in int8")
    assert job.calibration is not None

    class Reader(tool.CalibrationDataReader):  # type: ignore[name-defined,misc]
        """The images, one batch after the other."""

        def __init__(self, batches: Iterator[Any]) -> None:
            self.batches = batches

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {job.contract.input.name: batch}

    prepared = source.with_name("prepared.onnx")
    try:
        with quiet_exporters():
            shapes.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            tool.quantize_static(
                str(prepared),
                str(path),
                Reader(iter(job.calibration())),
                quant_format=tool.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
                calibrate_method=tool.CalibrationMethod.MinMax,
            )
    except Exception as error:  # its own classes have no common one
        raise InputError(f"onnxruntime cannot quantize this network: {first_line(error)}") from error
    finally:
        prepared.unlink(missing_ok=True)
