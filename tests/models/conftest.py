"""Files of weights as others write them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_lightning.models import Detector, official_state_dict, yolov5


@pytest.fixture
def nano() -> Detector:
    """A YOLOv5n whose every tensor differs from those of another one."""
    torch.manual_seed(7)
    detector = yolov5("n")
    with torch.no_grad():
        for name, tensor in detector.state_dict().items():
            if "running" in name or ".bn." in name:
                tensor.copy_(torch.rand(tensor.shape) * 0.5 + 0.75 if tensor.is_floating_point() else torch.tensor(5))
    return detector


@pytest.fixture
def save_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a pickled module with given tensors, in half precision, as published YOLOv5 files are."""
    package, module = types.ModuleType("models"), types.ModuleType("models.yolo")
    monkeypatch.setitem(sys.modules, "models", package)
    monkeypatch.setitem(sys.modules, "models.yolo", module)
    module.DetectionModel = type("DetectionModel", (nn.Module,), {"__module__": "models.yolo"})

    def make(tensors: Mapping[str, Tensor], **attributes: Any) -> nn.Module:
        root = module.DetectionModel()
        for name, tensor in tensors.items():
            *path, last = name.split(".")
            node = root
            for step in path:
                if step not in node._modules:
                    node.add_module(step, module.DetectionModel())
                node = node._modules[step]
            if tensor.is_floating_point() and "running" not in last and last != "anchors":
                node.register_parameter(last, nn.Parameter(tensor.detach().half()))
            else:
                node.register_buffer(last, tensor.half() if tensor.is_floating_point() else tensor)
        for key, value in attributes.items():
            setattr(root, key, value)
        return root

    def save(
        tensors: Mapping[str, Tensor], name: str = "official.pt", *, as_ema: bool = False, **attributes: Any
    ) -> Path:
        model = make(tensors, **attributes)
        other = make({key: torch.zeros_like(value) for key, value in tensors.items()}) if as_ema else None
        content = {
            "epoch": -1,
            "model": other if as_ema else model,
            "ema": model if as_ema else None,
            "optimizer": None,
        }
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def half_of(detector: Detector) -> dict[str, Tensor]:
    """The detector's tensors under our names, rounded as a half-precision file rounds them."""
    return {
        name: tensor.half().float() if tensor.is_floating_point() else tensor
        for name, tensor in detector.state_dict().items()
    }


def fused_official(detector: Detector) -> dict[str, Tensor]:
    """The tensors of the fused detector under published names."""
    return official_state_dict(detector.fuse())
