"""TensorRT engines, run on the GPU that they were built for.

Written after TensorRT's documentation and not run: there was no GPU to run it on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.runtimes.contract import Contract
from yolo_lightning.runtimes.detector import Run

__all__ = ["open_file", "read_contract"]


def open_file(path: Path, contract: Contract, device: torch.device) -> Run:
    """Opens an engine.

    Raises:
        InputError: If TensorRT is not installed, the device is no GPU, or TensorRT refuses the file.
    """
    tensorrt = require("tensorrt", "tensorrt", "to run TensorRT engines")
    if device.type != "cuda" or not torch.cuda.is_available():
        raise InputError(f"{path}: TensorRT engines run on an NVIDIA GPU (device cuda), not on {device}")
    with torch.cuda.device(device):
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise InputError(
            f"{path}: TensorRT cannot open it: an engine is for one kind of GPU and one version of TensorRT, so export "
            "it again on this machine"
        )
    allocator = _allocator(tensorrt, device)
    name, answer_name = contract.input.name, contract.output.name

    def run(images: Tensor) -> Tensor:
        images = images.to(device).contiguous()
        with torch.cuda.device(device):
            if not context.set_input_shape(name, tuple(images.shape)):
                raise InputError(f"{path}: was not built for images of shape {tuple(images.shape)}: export it for them")
            context.set_tensor_address(name, images.data_ptr())
            context.set_output_allocator(answer_name, allocator)
            stream = torch.cuda.current_stream()
            if not context.execute_async_v3(stream.cuda_stream):
                raise InputError(f"{path}: TensorRT could not run it: what it printed says why")
            stream.synchronize()
        answer: Tensor = allocator.answer()
        return answer

    # The engine must outlive its context, and the runtime its engine.
    run.keep = (runtime, engine)  # type: ignore[attr-defined]
    return run


def read_contract(path: Path) -> str | None:
    """None: an engine has no place for it."""
    return None


def _allocator(tensorrt: Any, device: torch.device) -> Any:
    """Memory for an answer whose length is known only when it is there, as that of suppression is."""

    class Allocator(tensorrt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._memory = torch.empty(0, dtype=torch.uint8, device=device)
            self._shape: tuple[int, ...] = ()

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            if self._memory.numel() < size:
                self._memory = torch.empty(max(size, 1), dtype=torch.uint8, device=device)
            return self._memory.data_ptr()

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, name: str, shape: Any) -> None:
            self._shape = tuple(shape)

        def answer(self) -> Tensor:
            count = int(torch.Size(self._shape).numel())
            return self._memory[: 4 * count].view(torch.float32).reshape(self._shape).clone()

    return Allocator()
