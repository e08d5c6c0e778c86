"""Starting weights of a pruned network bring the network, whose widths no configuration states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info

from yolo_lightning.models import Detector, build_detector, describe, read_checkpoint, resolve_weights
from yolo_lightning.models.pruned import pruned_description

__all__ = ["take_pruned_network"]


def take_pruned_network(model: Namespace) -> None:
    """Puts the network of the starting weights into the configuration, if these are of a pruned one.

    Only in the place of the default network, or of the one that it was pruned from: what else is configured stays, and
    the weights are refused when they are loaded.

    Args:
        model: Arguments of the module; changed in place.
    """
    weights, configured = model.get("weights"), model.get("detector")
    if weights is None or not isinstance(configured, Namespace):
        return
    description = pruned_description(read_checkpoint(resolve_weights(weights)))
    if description is None or not _may_be_replaced(configured.as_dict(), description):
        return
    rank_zero_info(f"model.weights are of a pruned network, which takes the place of model.detector: {weights}")
    model.detector = _as_config(description)


def _may_be_replaced(configured: Mapping[str, Any], pruned: Mapping[str, Any]) -> bool:
    with torch.device("meta"):
        detector = build_detector(configured, 1)
        if type(detector) is not Detector:
            return False
        parts = _parts(describe(detector))
        return parts in (_parts(describe(Detector(1))), _parts(pruned))


def _parts(description: Mapping[str, Any]) -> list[Any]:
    """Backbone, neck and head, without anchors, which data decide."""
    parts = [description["init_args"].get(name) for name in ("backbone", "neck", "head")]
    return [
        {**part, "init_args": {name: value for name, value in part["init_args"].items() if name != "anchors"}}
        for part in parts
        if part is not None
    ]


def _as_config(description: Any) -> Any:
    """A description as the parser gives it: classes as namespaces, other dictionaries as they are."""
    if not isinstance(description, Mapping) or "class_path" not in description:
        return description
    arguments = {name: _as_config(value) for name, value in description["init_args"].items()}
    return Namespace(class_path=description["class_path"], init_args=Namespace(arguments))  # type: ignore[no-untyped-call]
