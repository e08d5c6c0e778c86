"""The ten published networks and the output of real weights, against the reference's figures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from yolo_lightning.models import Detector, detector_from_weights, official_layers, official_state_dict, yolov5

SIZES = ["n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"]
FUSED_PARAMETERS = {"n": 1867405, "s": 7225885, "n6": 3239884}
LAYER_PARAMETERS_N = [
    *(1760, 4672, 4800, 18560, 29184, 73984, 156928, 295424, 296448, 164608, 33024, 0, 0, 90880, 8320, 0, 0, 22912),
    *(36992, 0, 74496, 147712, 0, 296448, 115005),
]


@pytest.mark.parametrize("size", SIZES)
def test_names_shapes_and_counts_are_those_of_published_files(size: str, golden: Path) -> None:
    expected = json.loads((golden / "models.json").read_text())[f"yolov5{size}"]
    with torch.device("meta"):
        detector = yolov5(size)
    state = official_state_dict(detector)
    assert {name: list(tensor.shape) for name, tensor in state.items()} == expected["state_dict"]
    assert list(state) == list(expected["state_dict"])
    assert len(state) == expected["state_dict_entries"]
    assert sum(parameter.numel() for parameter in detector.parameters()) == expected["params"]
    assert list(detector.strides) == expected["stride"]
    assert official_layers(detector)[-1][0] + 1 == expected["layers"]


@pytest.mark.parametrize("size", ["n", "n6"])
def test_anchors_are_the_published_ones(size: str, golden: Path) -> None:
    expected = torch.tensor(json.loads((golden / "models.json").read_text())[f"yolov5{size}"]["anchors"])
    detector = yolov5(size)
    assert torch.equal(detector.head.anchors, expected)
    strides = torch.tensor(detector.strides).view(-1, 1, 1)
    official = official_state_dict(detector)
    name = next(name for name in official if name.endswith("anchors"))
    assert torch.equal(official[name], expected / strides)


@pytest.mark.parametrize("size", FUSED_PARAMETERS)
def test_fusing_leaves_the_published_number_of_parameters(size: str) -> None:
    assert sum(parameter.numel() for parameter in yolov5(size).fuse().parameters()) == FUSED_PARAMETERS[size]


def test_parameters_of_each_layer() -> None:
    counts = {number: sum(p.numel() for p in layer.parameters()) for number, layer in official_layers(yolov5("n"))}
    assert [counts.get(number, 0) for number in range(25)] == LAYER_PARAMETERS_N


@pytest.fixture(scope="module")
def official_n(shared: Path) -> Detector:
    detector, names = detector_from_weights(shared / "weights" / "yolov5n.pt")
    assert names is not None
    assert (len(names), names[0], names[-1]) == (80, "person", "toothbrush")
    return detector.eval()


@pytest.mark.parametrize(
    ("name", "fused"), [("bus.jpg", False), ("bus.jpg", True), ("zidane.jpg", False), ("000000000025.jpg", False)]
)
def test_raw_output_of_published_weights(
    name: str, fused: bool, official_n: Detector, shared: Path, golden: Path
) -> None:
    expected = json.loads((golden / "official_yolov5n_detections.json").read_text())[name]
    path = next(path for path in (shared / "data").rglob(name))
    images = _letterbox(path)
    assert list(images.shape) == expected["input_shape"]
    detector = official_n.fuse() if fused else official_n
    with torch.inference_mode():
        rows = _rows(detector, detector(images))
    assert list(rows.shape) == expected["raw_shape"]
    assert rows.double().sum().item() == pytest.approx(expected["raw_sum"], rel=1e-6)
    assert rows[..., 4].max().item() == pytest.approx(expected["raw_obj_max"], abs=1e-5)


def _rows(detector: Detector, raw: tuple[Tensor, ...]) -> Tensor:
    """Predictions (B, N, 5 + C) as the reference lays them out: centre, size, objectness, class probabilities."""
    boxes, scores = detector.decode(raw)
    probability = torch.cat([level.flatten(1, 3)[..., 4:].sigmoid() for level in raw], 1)
    assert torch.allclose(scores, probability[..., :1] * probability[..., 1:])
    top_left, bottom_right = boxes.chunk(2, dim=-1)
    return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left, probability), dim=-1)


def _letterbox(path: Path, size: int = 640, stride: int = 32) -> Tensor:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    height, width = image.shape[:2]
    ratio = size / max(height, width)
    width, height = round(width * ratio), round(height * ratio)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    dh, dw = (-height % stride) / 2, (-width % stride) / 2
    edges = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None] / 255
