"""How large networks are, how much they compute, and how long that takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from yolo_lightning.inference.networks import Networks
from yolo_lightning.models import Detector
from yolo_lightning.tools.flops import flops_by_module
from yolo_lightning.tools.latency import Latency, Turns

__all__ = ["NetworkFigures", "measure_networks"]

_WARM_UP = 5
_SECONDS = 2.0


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


def measure_networks(detectors: Sequence[Detector], files: Sequence[Path], image_size: int) -> list[NetworkFigures]:
    """Figures of networks whose times are to be compared: they run by turns, so that all meet the same disturbances.

    Args:
        detectors: The networks.
        files: Their files.
        image_size: Side of the image in pixels, a multiple of the networks' stride.
    """
    return [
        NetworkFigures(
            parameters=sum(parameter.numel() for parameter in detector.parameters()),
            zeros=_share_of_zeros(detector),
            gflops=flops_by_module(detector, (1, detector.in_channels, image_size, image_size))[""] / 1e9,
            file_bytes=file.stat().st_size,
            latency_ms=latency.p50,
            latency_p95_ms=latency.p95,
        )
        for detector, file, latency in zip(detectors, files, _latencies(detectors, image_size), strict=True)
    ]


def _share_of_zeros(detector: Detector) -> float:
    counts = [(int((parameter == 0).sum()), parameter.numel()) for parameter in detector.parameters()]
    return sum(zeros for zeros, _ in counts) / sum(total for _, total in counts)


@torch.inference_mode()
def _latencies(detectors: Sequence[Detector], image_size: int) -> list[Latency]:
    """Of one image, batch normalisation fused, by turns."""
    networks = [Networks([copy.deepcopy(detector)], "cpu", "float32").fused()[0] for detector in detectors]
    images = torch.rand(1, detectors[0].in_channels, image_size, image_size)
    images = images.to(memory_format=torch.channels_last)
    for network in networks * _WARM_UP:
        network(images)
    turns = Turns({str(index): partial(network, images) for index, network in enumerate(networks)}, images.device)
    turns.run(_SECONDS)
    found = [turns.latency(str(index)) for index in range(len(networks))]
    if turns.errors:
        raise RuntimeError(f"a network does not run: {next(iter(turns.errors.values()))}")
    return [latency for latency in found if latency is not None]
