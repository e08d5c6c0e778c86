"""Starting weights of a pruned network bring the network, whose widths no configuration states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info

from yolo_lightning.models import Detector, build_detector, describe, read_checkpoint, resolve_weights
from yolo_lightning.models.pruned import pruned_description
from yolo_lightning.runtimes import is_exported

__all__ = ["take_pruned_network"]


def take_pruned_network(model: Namespace) -> None:
    """Puts the network of the starting weights into the configuration, if these are of a pruned one.

    Only in the place of the default network, or of the one that it was pruned from: what else is configured stays, and
    the weights are refused when they are loaded.

    Args:
        model: Arguments of the module; changed in place.
    """
    weights, configured = model.get("weights"), model.get("detector")
    if weights is None or is_exported(weights) or not isinstance(configured, Namespace):
        return
    description = pruned_description(read_checkpoint(resolve_weights(weights)))
    if description is None:
        return
    with torch.device("meta"):
        network, present = build_detector(description, 1), build_detector(configured.as_dict(), 1)
        replaceable = type(present) is Detector and _parts(present) in (_parts(Detector(1)), _parts(network))
    if not replaceable:
        return
    rank_zero_info(f"model.weights are of a pruned network, which takes the place of model.detector: {weights}")
    model.detector = _as_config(describe(network))


def _parts(detector: Detector) -> list[Any]:
    """Backbone, neck and head in plain values, without anchors, which data decide."""
    parts = [describe(detector)["init_args"][name] for name in ("backbone", "neck", "head")]
    for part in parts:
        part["init_args"].pop("anchors", None)
    return parts


def _as_config(description: Any) -> Any:
    """A description as the parser gives it: classes as namespaces, other dictionaries as they are."""
    if not isinstance(description, Mapping) or "class_path" not in description:
        return description
    arguments = {name: _as_config(value) for name, value in description["init_args"].items()}
    return Namespace(class_path=description["class_path"], init_args=Namespace(arguments))  # type: ignore[no-untyped-call]
