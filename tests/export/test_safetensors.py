"""Exported weights make the same network again, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.export.conftest import calm_detector
from tests.inference.conftest import CLASS_NAMES, tiny_detector
from yolo_lightning.errors import InputError
from yolo_lightning.export import ExportOptions, export_network
from yolo_lightning.export import safetensors as writer
from yolo_lightning.inference import Predictor, load
from yolo_lightning.models import detector_from_weights, load_weights
from yolo_lightning.runtimes import contract_path
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8))


def export(folder: Path, *, half: bool = False) -> Path:
    path = folder / "tiny-weights.safetensors"
    options = ExportOptions(image_size=(64, 64), half=half)
    made = export_network(calm_detector(), CLASS_NAMES, "safetensors", path, options, images=IMAGES)
    assert made.difference is not None
    assert made.difference.box <= (0.5 if half else 0)
    return path


def test_the_network_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    path = export(tmp_path)
    detector, names = detector_from_weights(path)
    assert names == CLASS_NAMES
    wanted = calm_detector().state_dict()
    assert wanted.keys() == detector.state_dict().keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in detector.state_dict().items())
    report = load_weights(tiny_detector(seed=1), path)
    assert len(report.transferred) == len(wanted)


def test_it_predicts_as_the_network_does_at_any_size(tmp_path: Path) -> None:
    exported = load(export(tmp_path), device="cpu", size=96)
    plain = Predictor(calm_detector(), CLASS_NAMES, device="cpu", size=96)
    image = np.random.default_rng(1).integers(0, 256, (96, 64, 3), np.uint8)
    (found,), (wanted,) = exported([image]).detections, plain([image]).detections
    assert len(wanted)
    assert torch.equal(found.boxes, wanted.boxes)
    assert torch.equal(found.scores, wanted.scores)


def test_half_precision_is_half_the_size(tmp_path: Path) -> None:
    exact, half = export(tmp_path), export(tmp_path / "half", half=True)
    assert half.stat().st_size < 0.6 * exact.stat().st_size
    assert load(half, device="cpu").names == CLASS_NAMES


def test_the_contract_is_beside_and_inside(tmp_path: Path) -> None:
    path = export(tmp_path)
    beside = Contract.read(contract_path(path))
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    inside = Contract.from_text(metadata[CONTRACT_KEY], path)
    assert inside.input == beside.input
    assert (inside.input.batch, inside.input.height, inside.input.stride) == (None, None, 32)
    assert json.loads(metadata["class_names"]) == list(CLASS_NAMES)


def test_weights_that_were_changed_on_the_way_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(detector: torch.nn.Module, *args: object, **kwargs: object) -> None:
        with torch.no_grad():
            changed = calm_detector()
            next(changed.parameters()).view(-1)[0] += 1e-4
        real(changed, *args, **kwargs)

    real = writer.save_weights
    monkeypatch.setattr(writer, "save_weights", save)
    with pytest.raises(InputError, match=r"backbone\..* was read with other values"):
        export(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["int8", "nms", "preprocess"])
def test_what_weights_cannot_hold_is_refused(option: str, tmp_path: Path) -> None:
    options = ExportOptions(image_size=(64, 64), **{option: True})
    with pytest.raises(InputError, match=rf"safetensors files cannot be exported with --{option}"):
        export_network(calm_detector(), CLASS_NAMES, "safetensors", tmp_path / "x", options, images=IMAGES)
