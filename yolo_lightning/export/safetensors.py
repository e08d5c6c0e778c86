"""Weights as safetensors, from which this library makes the network again."""

from __future__ import annotations

from pathlib import Path

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.export.options import Job
from yolo_lightning.models import Detector, detector_from_weights, save_weights
from yolo_lightning.runtimes.contract import CONTRACT_KEY

__all__ = ["libraries", "load", "write"]


def libraries() -> list[str]:
    """What is needed."""
    return ["safetensors"]


def write(job: Job, path: Path) -> None:
    """Writes the weights as they are or, if asked for, in half precision, with the contract among the metadata.

    They are not fused, so that the network can be trained on.

    Raises:
        InputError: If the network cannot be described, or what is read is not what was written.
    """
    metadata = {CONTRACT_KEY: job.contract.to_json()}
    try:
        save_weights(job.detector, path, job.contract.class_names, half=job.options.half, metadata=metadata)
    except OSError as error:
        raise InputError(str(error)) from error
    if job.options.half:
        return
    found = detector_from_weights(path)[0].state_dict()
    for name, tensor in job.detector.state_dict().items():
        # Bit by bit: what is not a number is like itself.
        if not torch.equal(_bits(found[name]), _bits(tensor)):
            raise InputError(f"{name} was read with other values than it was written with")


def load(path: Path) -> Detector:
    """The network of a file, as it runs.

    Raises:
        InputError: If it cannot be read.
    """
    return detector_from_weights(path)[0].fuse().requires_grad_(False)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
