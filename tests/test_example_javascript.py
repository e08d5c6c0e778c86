"""The program of examples/javascript, which knows of an exported file its contract alone, finds what PyTorch finds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.inference.conftest import CLASS_NAMES, tiny_detector
from yolo_lightning.export import ExportOptions, export_network
from yolo_lightning.inference import Predictor
from yolo_lightning.runtimes.contract import Thresholds
from yolo_lightning.types import Detections

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDER = ROOT / "examples" / "javascript"
SIZE = (96, 64)
THRESHOLDS = Thresholds(0.3, 0.5, 50)
KINDS: dict[str, dict[str, Any]] = {
    "rows": {},
    "any size": {"dynamic": True},
    "a batch of bytes": {"preprocess": True, "batch_size": 2},
    "suppression in the file": {"nms": True, "batch_size": 2},
}


def node(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", *map(str, arguments)], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    names = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]
    missing = [name for name in names if node("-e", f"require.resolve('{name}')").returncode]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: `npm install` in examples/javascript, or $NODE_PATH")


def export(path: Path, **options: Any) -> None:
    settings = ExportOptions(SIZE, thresholds=THRESHOLDS, **options)
    shape = (settings.batch_size, 3, *SIZE)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    export_network(tiny_detector(), CLASS_NAMES, "onnx", path, settings, images=images)


def picture(path: Path, height: int, width: int) -> np.ndarray:
    """Smooth, so that a grey level of rounding changes little."""
    coarse = np.random.default_rng(1).integers(0, 256, (5, 4, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return np.ascontiguousarray(image[..., ::-1])


def wanted_of(image: np.ndarray, size: int | tuple[int, int]) -> Detections:
    predictor = Predictor(
        tiny_detector(),
        CLASS_NAMES,
        device="cpu",
        size=size,
        confidence_threshold=THRESHOLDS.confidence,
        iou_threshold=THRESHOLDS.iou,
        max_detections=THRESHOLDS.max_detections,
    )
    return predictor(image).detections[0]


def assert_alike(found: list[dict[str, Any]], wanted: Detections, box: float, score: float) -> None:
    assert len(found) == len(wanted) > 1
    left = list(found)
    for corners, confidence, label in zip(
        wanted.boxes.tolist(), wanted.scores.tolist(), wanted.labels.tolist(), strict=True
    ):
        alike = [each for each in left if each["label"] == label and abs(each["score"] - confidence) < score]
        distances = [max(abs(a - b) for a, b in zip(each["box"], corners, strict=True)) for each in alike]
        assert distances
        assert min(distances) < box
        chosen = alike[distances.index(min(distances))]
        assert chosen["name"] == CLASS_NAMES[label]
        left.remove(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_pytorch_finds(kind: str, tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    export(network, **KINDS[kind])
    for height, width in ((96, 64), (192, 90)) if kind == "any size" else ((96, 64),):
        image = picture(tmp_path / "picture.png", height, width)
        process = node("detect.js", network, tmp_path / "picture.png", 96)
        assert process.returncode == 0, process.stderr
        found = json.loads(process.stdout)
        assert_alike(found, wanted_of(image, 96 if kind == "any size" else SIZE), 0.5, 0.01)


@pytest.mark.slow
def test_refuses_a_file_that_the_contract_is_not_of(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    export(network)
    picture(tmp_path / "picture.png", *SIZE)
    network.write_bytes(network.read_bytes() + b"\0")
    process = node("detect.js", network, tmp_path / "picture.png")
    assert process.returncode == 1
    assert "network.onnx: not the file that the contract is of" in process.stderr
