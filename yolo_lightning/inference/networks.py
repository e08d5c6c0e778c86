"""The networks of a predictor: on their device, fused, in the precision asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector
from yolo_lightning.runtimes import ExportedDetector

__all__ = ["Networks", "Precision", "resolve_device"]

Precision = Literal["float32", "bfloat16", "float16"]


class Networks:
    """Detectors that see the same images.

    Args:
        detectors: Plain networks; moved to the device, and otherwise left as they are.
        device: As ``torch.device``; None takes the GPU if there is one.
        precision: In which the fused copies compute.

    Raises:
        InputError: If there is no detector, they differ in classes or channels, or the device cannot be used or does
            not compute in the precision.
    """

    def __init__(self, detectors: Sequence[Detector], device: str | torch.device | None, precision: Precision) -> None:
        if not detectors:
            raise InputError("a predictor needs at least one network")
        self.device = resolve_device(device)
        if precision not in get_args(Precision):
            raise InputError(f"precision is {precision!r}: use one of {', '.join(get_args(Precision))}")
        if precision == "float16" and self.device.type == "cpu":
            raise InputError("float16 needs a GPU: on the CPU use bfloat16 or float32")
        self.precision = precision
        self.detectors = [detector.to(self.device) for detector in detectors]
        for what, values in {
            "classes": [detector.num_classes for detector in detectors],
            "image channels": [detector.in_channels for detector in detectors],
        }.items():
            if len(set(values)) > 1:
                raise InputError(f"the networks of an ensemble must have the same number of {what}, found {values}")
        self.num_classes = detectors[0].num_classes
        self.in_channels = detectors[0].in_channels
        self.stride = max(detector.strides[-1] for detector in detectors)
        self.fixed_size = _fixed_size(detectors)
        self._fused: list[Detector] = []
        self._versions: list[tuple[int, int]] | None = None

    def fused(self) -> list[Detector]:
        """Copies for inference; made again when the weights of a plain network have changed."""
        tensors = [tensor for detector in self.detectors for tensor in _tensors(detector)]
        versions = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if versions != self._versions:
            dtype = getattr(torch, self.precision)
            with torch.inference_mode(False):
                self._fused = [
                    detector.fuse().to(self.device, dtype).to(memory_format=torch.channels_last).requires_grad_(False)
                    for detector in self.detectors
                ]
            self._versions = versions
        return self._fused

    def to_input(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 as floating point in 0…1 on the device."""
        scaled = torch.div(images.to(self.device, non_blocking=True), 255)  # in float32
        return scaled.to(getattr(torch, self.precision))


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device of a name; None takes the GPU if there is one.

    Raises:
        InputError: If there is no such device.
    """
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(f"cuda:{device}" if str(device).isdigit() else device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device} cannot be used ({reason}): use cpu, cuda or cuda:<number>") from error
    return chosen


def _fixed_size(detectors: Sequence[Detector]) -> tuple[int, int] | None:
    """The only height and width that exported networks take; None if there is none."""
    sizes = {detector.fixed_size for detector in detectors if isinstance(detector, ExportedDetector)} - {None}
    if len(sizes) > 1:
        raise InputError(f"the networks of an ensemble are exported for images of different sizes: {sizes}")
    return next(iter(sizes), None)


def _tensors(detector: Detector) -> list[Tensor]:
    """Parameters and buffers. Every call asks, and ``modules()`` takes five times as long."""
    tensors: list[Tensor] = []
    waiting: list[nn.Module] = [detector]
    while waiting:
        module = waiting.pop()
        tensors += [tensor for tensor in module._parameters.values() if tensor is not None]
        tensors += [tensor for tensor in module._buffers.values() if tensor is not None]
        waiting += [child for child in module._modules.values() if child is not None]
    return tensors
