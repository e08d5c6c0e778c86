"""Weights as a file to share: safetensors, with what is needed to make the detector again."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from yolo_lightning.models.build import describe
from yolo_lightning.models.checkpoint import FORMAT_VERSION
from yolo_lightning.models.detector import Detector
from yolo_lightning.paths import replacing

__all__ = ["save_weights"]


def save_weights(
    detector: Detector,
    path: str | Path,
    class_names: Sequence[str],
    epoch: int | None = None,
    fitness: float | None = None,
    *,
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the weights alone; a file that is there is replaced in one step.

    In half precision, what :meth:`torch.nn.Module.half` keeps exact, such as anchors, stays as it is, and so does a
    tensor with a value that half precision cannot hold.

    :func:`~yolo_lightning.models.detector_from_weights` makes the detector again, :func:`load_weights` starts another
    from it. The metadata are strings: ``format_version``; ``class_names`` and ``detector`` (the network, as
    :func:`~yolo_lightning.models.describe` has it) as JSON; ``epoch`` and ``fitness`` if given.

    Args:
        detector: Not changed.
        path: File to write, by custom ``*.safetensors``.
        class_names: Names of the classes, in the order of the labels.
        epoch: Epoch of the weights, from 0.
        fitness: Fitness of the weights.
        half: In half precision; if not, every tensor as it is.
        metadata: Strings to add.

    Raises:
        InputError: If the network cannot be described; see :func:`~yolo_lightning.models.describe`.
        ValueError: If there are more or fewer names than classes.
        OSError: If the file cannot be written.
    """
    if len(class_names) != detector.num_classes:
        raise ValueError(f"{len(class_names)} class names for a detector of {detector.num_classes} classes")
    values = {
        **(metadata or {}),
        "format": "pt",  # by which other libraries know the layout of convolutions
        "format_version": FORMAT_VERSION,
        "class_names": json.dumps(list(class_names)),
        "detector": json.dumps(describe(detector)),
    }
    optional = {"epoch": epoch, "fitness": fitness}
    values.update({name: json.dumps(value) for name, value in optional.items() if value is not None})
    try:
        with replacing(Path(path)) as temporary:
            save_file(_tensors(detector, half), temporary, values)
    except SafetensorError as error:
        raise OSError(f"{path} was not written: {error}") from error


def _tensors(detector: Detector, half: bool) -> dict[str, Tensor]:
    """Independent copies on the CPU, row after row, as safetensors wants them."""
    exact_tensors = detector.state_dict()
    narrowed = copy.deepcopy(detector).half().state_dict() if half else exact_tensors
    tensors = {}
    for name, exact in exact_tensors.items():
        narrow = narrowed[name]
        kept = narrow if torch.equal(narrow.isfinite(), exact.isfinite()) else exact
        tensors[name] = kept.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return tensors
