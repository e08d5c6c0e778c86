"""What exporters of PyTorch have in common."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch

from yolo_lightning.export.options import Job

__all__ = ["dynamic_shapes", "quiet_exporters"]

_LOGGERS = (
    "",  # onnxruntime's quantization tells there
    "coremltools",
    "nncf",
    "onnx_ir",
    "onnxscript",
    "torch._dynamo",
    "torch._export",
    "torch.export",
    "torch.fx",
    "torch.onnx",
)


def dynamic_shapes(job: Job) -> tuple[dict[int, Any]] | None:
    """The axes of the input that may vary, for ``torch.export``; sides are multiples of the stride."""
    if not job.dynamic_axes:
        return None
    stride = job.contract.input.stride
    cells = {name: stride * torch.export.Dim(f"{name}_cells", min=1) for name in ("height", "width")}
    axes = {**cells, "batch": torch.export.Dim("batch", min=1)}
    return ({axis: axes[name] for axis, name in job.dynamic_axes.items()},)


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Without what exporters tell, print and draw of every operator; what they raise comes through."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
