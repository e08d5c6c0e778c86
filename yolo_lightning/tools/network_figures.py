"""How large a network is, how much it computes, and how long that takes."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from yolo_lightning.inference.networks import Networks
from yolo_lightning.models import Detector

__all__ = ["NetworkFigures", "flops_by_module", "measure_networks"]

_WARM_UP = 5
_ROUNDS = 100
_SECONDS = 30.0


@dataclass(frozen=True)
class NetworkFigures:
    """Figures of a network.

    Args:
        parameters: Number of parameters, those of batch normalisation included: before it is fused.
        zeros: Share of the parameters that are zero, 0…1.
        gflops: Billions of floating-point operations for an image; a multiplication with its addition counts as two.
        file_bytes: Size of the file of weights.
        latency_ms: Median time of a forward pass of one image on the CPU, batch normalisation fused.
        latency_p95_ms: 95th percentile of that.
    """

    parameters: int
    zeros: float
    gflops: float
    file_bytes: int
    latency_ms: float
    latency_p95_ms: float


def flops_by_module(detector: Detector, image_size: int) -> dict[str, int]:
    """Floating-point operations of an image of so many pixels a side, by name of the module; "" is the whole network.

    Those of convolutions and matrix products, which are all but a few thousandths.
    """
    with torch.device("meta"), torch.no_grad():  # shapes alone
        network = copy.deepcopy(detector).to("meta").eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, detector.in_channels, image_size, image_size))
    root = type(detector).__name__
    counts = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    found = {name.removeprefix(f"{root}."): count for name, count in counts.items() if name.startswith(f"{root}.")}
    return {"": counter.get_total_flops(), **found}


def measure_networks(detectors: Sequence[Detector], files: Sequence[Path], image_size: int) -> list[NetworkFigures]:
    """Figures of networks whose times are to be compared: they run by turns, so that all meet the same disturbances.

    Args:
        detectors: The networks.
        files: Their files.
        image_size: Side of the image in pixels, a multiple of the networks' stride.
    """
    times = _latencies(detectors, image_size)
    return [
        NetworkFigures(
            parameters=sum(parameter.numel() for parameter in detector.parameters()),
            zeros=_share_of_zeros(detector),
            gflops=flops_by_module(detector, image_size)[""] / 1e9,
            file_bytes=file.stat().st_size,
            latency_ms=float(np.median(own)),
            latency_p95_ms=float(np.percentile(own, 95)),
        )
        for detector, file, own in zip(detectors, files, times, strict=True)
    ]


def _share_of_zeros(detector: Detector) -> float:
    counts = [(int((parameter == 0).sum()), parameter.numel()) for parameter in detector.parameters()]
    return sum(zeros for zeros, _ in counts) / sum(total for _, total in counts)


@torch.inference_mode()
def _latencies(detectors: Sequence[Detector], image_size: int) -> list[list[float]]:
    """Milliseconds of each pass of each network."""
    networks = [Networks([copy.deepcopy(detector)], "cpu", "float32") for detector in detectors]
    fused = [network.fused()[0] for network in networks]
    images = torch.rand(1, detectors[0].in_channels, image_size, image_size)
    images = images.to(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in fused]
    for _ in range(_WARM_UP):
        for network in fused:
            network(images)
    end = time.perf_counter() + _SECONDS
    while len(times[0]) < _ROUNDS and (len(times[0]) < _WARM_UP or time.perf_counter() < end):
        for network, own in zip(fused, times, strict=True):
            start = time.perf_counter()
            network(images)
            own.append((time.perf_counter() - start) * 1e3)
    return times
