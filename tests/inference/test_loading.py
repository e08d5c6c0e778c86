"""load(): any weights become a predictor, with other classes or channels where asked for."""

from __future__ import annotations

import runpy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.inference.conftest import CLASS_NAMES, tiny_detector
from tests.runs import environment
from tests.test_operating_point import POINT
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Predictor, load
from yolo_lightning.models import save_weights
from yolo_lightning.operating_point import WeightsFile, operating_point_path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_importing_is_cheap():
    code = "import sys, yolo_lightning, yolo_lightning.inference; print('torch' in sys.modules, 'cv2' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert process.stdout.split() == ["False", "False"]


def test_weights_of_this_library(weights, image):
    predictor = load(weights, device="cpu", size=64, confidence_threshold=0.5)
    assert predictor.names == CLASS_NAMES
    assert (predictor.size, predictor.confidence_threshold, predictor.iou_threshold) == (64, 0.5, 0.45)
    direct = Predictor(tiny_detector().half().float(), CLASS_NAMES, device="cpu", size=64, confidence_threshold=0.5)
    assert torch.equal(predictor(image).xyxy[0], direct(image).xyxy[0])
    assert str(predictor.device) == "cpu"


def test_published_weights(shared):
    path = shared / "weights" / "yolov5n.pt"
    predictor = load(path, device="cpu")
    results = predictor(shared / "data" / "images" / "bus.jpg")
    assert "4 persons, 1 bus" in str(results)
    assert predictor.names[0] == "person"


def test_an_ensemble(weights, tmp_path, image):
    other = tmp_path / "other.safetensors"
    save_weights(tiny_detector(seed=1), other, CLASS_NAMES)
    ensemble = load([weights, other], device="cpu", size=64)
    assert len(ensemble.networks.detectors) == 2
    assert len(ensemble(image).xyxy[0]) > 0
    save_weights(tiny_detector(seed=1), other, ["a", "b", "c"])
    with pytest.raises(InputError, match=r"same classes.*other\.safetensors"):
        load([weights, other])


def test_other_classes_keep_what_fits(weights, capsys):
    predictor = load(weights, device="cpu", classes=["cat", "dog"])
    assert predictor.names == ("cat", "dog")
    report = capsys.readouterr().err
    assert "head.m.0.weight: shape" in report
    assert "Transferred" in report
    original = load(weights, device="cpu").model.state_dict()
    changed = predictor.model.state_dict()
    assert {name for name in original if not torch.equal(original[name], changed[name])} == {
        f"head.m.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")
    }
    assert load(weights, device="cpu", classes=5).names == tuple(f"class{index}" for index in range(5))


def test_as_many_other_names_rename(weights, image, capsys):
    renamed = load(weights, device="cpu", size=64, classes=["x", "y", "z"])
    assert renamed.names == ("x", "y", "z")
    assert torch.equal(renamed(image).xyxy[0], load(weights, device="cpu", size=64)(image).xyxy[0])
    assert capsys.readouterr().err == ""


def test_other_channels_keep_what_fits(weights, capsys):
    predictor = load(weights, device="cpu", channels=4, size=64)
    assert predictor.model.in_channels == 4
    assert "backbone" in capsys.readouterr().err
    assert predictor(np.zeros((48, 64, 4), np.uint8)).xyxy[0].shape[1] == 6


def test_fresh_weights(weights):
    fresh, trained = load(weights, device="cpu", pretrained=False), load(weights, device="cpu")
    assert fresh.names == CLASS_NAMES
    first, second = (p.model.backbone.state_dict() for p in (fresh, trained))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert load("yolov5n.pt", device="cpu", pretrained=False, classes=2).model.num_classes == 2


def test_operating_point_beside_the_weights(weights, image):
    classes = [replace(POINT.classes[0], name=name, threshold=0.7, threshold_interval=None) for name in CLASS_NAMES]
    point = replace(POINT, classes=tuple(classes), weights=WeightsFile(weights.name, "1" * 64))
    path = operating_point_path(weights)
    try:
        point.save(path)
        with pytest.warns(UserWarning, match="has changed"):
            predictor = load(weights, device="cpu", size=64, operating_point=True, class_agnostic=True)
    finally:
        path.unlink()
    assert predictor.confidence_threshold == (0.7,) * 3
    assert (predictor.iou_threshold, predictor.multi_label) == (0.6, True), "as they were when it was chosen"
    assert predictor.class_agnostic, "what is given wins"
    assert 0 < float(predictor(image).xyxy[0][:, 4].min()) > 0.7


WRONG = {
    "no weights": (([],), {}, "no weights"),
    "missing": (("missing.pt",), {}, r"missing\.pt"),
    "classes": (None, {"classes": 0}, "at least one"),
    "one name": (None, {"classes": "cat"}, "list of names"),
    "no names": (None, {"classes": []}, "list of names"),
    "channels": (None, {"channels": 0}, "channels"),
    "device": (None, {"device": "cuda:77"}, "cuda:77"),
    "precision": (None, {"precision": "float8"}, "float8"),
    "operating point": (None, {"operating_point": True}, "operating"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be(case, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, options, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        load(*(arguments or (weights,)), **options)


def test_an_unknown_setting(weights):
    with pytest.raises(TypeError, match="confidence_threshold"):
        load(weights, conf=0.3)


def test_torch_hub(weights, image):
    custom = torch.hub.load(str(ROOT), "custom", weights, source="local", device="cpu", size=64)
    assert torch.equal(custom(image).xyxy[0], load(weights, device="cpu", size=64)(image).xyxy[0])
    plain = torch.hub.load(str(ROOT), "yolov5n", source="local", pretrained=False, autoshape=False, classes=3)
    assert plain.num_classes == 3
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    for size in ("n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"):
        assert f"The published yolov5{size}," in entries[f"yolov5{size}"].__doc__
