"""The examples run, and what they swap from YAML is really used."""

import csv
import importlib
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.runs import figures, load
from yolo_lightning.cli import main
from yolo_lightning.data import SyntheticShapes, YOLOv5Augmentation
from yolo_lightning.losses import IoULoss
from yolo_lightning.models import Detector, build_detector, describe
from yolo_lightning.types import Batch, FeatureInfo, SampleKey

CONFIG = ROOT / "examples/research/config.yaml"
TINY = ["--data.image_size=64", "--data.batch_size=4", "--data.num_workers=0", "--data.dataset.image_size=64"]
TINY += [f"--data.dataset.num_{split}_images={count}" for split, count in (("train", 8), ("val", 3), ("test", 3))]
TINY += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def parts():
    """The researcher's module, importable as with PYTHONPATH=examples/research."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples/research")
        yield importlib.import_module("parts")
        sys.modules.pop("parts")


@pytest.fixture(scope="module")
def trained(parts, tmp_path_factory):
    """Directory of a short run of the configuration, and how often each swapped class was called."""
    calls = dict.fromkeys(("ConvNeXtBackbone", "DecoupledHead", "SimOTAAssigner", "AlphaIoULoss", "GreyOut"), 0)

    def counting(name, original):
        def counted(self, *args):
            calls[name] += 1
            return original(self, *args)

        return counted

    folder = tmp_path_factory.mktemp("research")
    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            part, method = getattr(parts, name), "__call__" if name == "GreyOut" else "forward"
            patch.setattr(part, method, counting(name, getattr(part, method)))
        patch.chdir(folder)
        assert main(["fit", "--config", str(CONFIG), *TINY, "--trainer.max_epochs=2"]) == 0
    return folder / "runs/research", calls


def test_every_swapped_class_is_used(trained):
    directory, calls = trained
    assert all(calls.values()), calls
    assert calls["GreyOut"] == 16  # 8 images, 2 epochs
    with (directory / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for part in ("backbone", "neck", "head"):
        assert all(float(row[f"gradient_norm/{part}"]) > 0 for row in rows)
    callbacks = yaml.safe_load((directory / "config.yaml").read_text())["trainer"]["callbacks"]
    assert [callback["class_path"] for callback in callbacks] == ["parts.GradientNorms"]


def test_checkpoint_of_swapped_parts_can_be_tested(trained, tmp_path, monkeypatch):
    directory, _ = trained
    best = directory / "checkpoints/best.ckpt"
    detector = load(best)["hyper_parameters"]["detector"]["init_args"]
    assert detector["backbone"]["class_path"] == "parts.ConvNeXtBackbone"
    assert detector["backbone"]["init_args"]["widths"] == [16, 32, 64, 128]
    assert detector["head"]["class_path"] == "parts.DecoupledHead"
    monkeypatch.chdir(tmp_path)
    assert main(["test", "--config", str(directory / "config.yaml"), "--ckpt_path", str(best)]) == 0
    assert "test/fitness" in figures(tmp_path / "runs/research")


def test_checkpoint_of_swapped_parts_names_the_import_to_do(trained, monkeypatch, capsys):
    directory, _ = trained
    best = directory / "checkpoints/best.ckpt"
    data = ["--data.dataset", "yolo_lightning.data.SyntheticShapes", *TINY]
    monkeypatch.delitem(sys.modules, "parts")  # importable, but nobody asked for it
    assert main(["test", *data, "--ckpt_path", str(best)]) == 1
    assert "`import parts` first" in capsys.readouterr().err
    assert "parts" not in sys.modules


def test_python_api(tmp_path):
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        train = importlib.import_module("python_api").train
    finally:
        sys.path.remove(str(ROOT / "examples"))
    result = train(tmp_path, max_epochs=1, num_images=16, width_multiple=0.125)
    assert 0 <= result["test/fitness"] <= 1
    assert (tmp_path / "best.ckpt").is_file()


# ------------------------------------------------------------------------------------- the parts by themselves


def batch_of(boxes, labels, image_index, size=(64, 96), count=2):
    return Batch(
        torch.zeros(count, 3, *size),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(image_index, dtype=torch.int64),
        [],
    )


BATCHES = [
    batch_of([], [], []),
    batch_of([[8, 8, 40, 40]], [1], [1]),
    batch_of([[8, 8, 40, 40], [9, 9, 41, 40], [0, 0, 96, 64]], [0, 1, 2], [0, 0, 1]),
    batch_of([[0, 0, 1, 1], [95, 63, 96, 64], [10, 10, 10, 10]], [0, 1, 2], [0, 1, 1]),  # corners, and no area
    batch_of([[8, 8, 40, 40]] * 30, [2] * 30, [0] * 30),
]


@pytest.mark.parametrize("batch", BATCHES)
def test_assigner_gives_each_prediction_one_reachable_box(parts, batch):
    torch.manual_seed(0)
    strides, shapes = (8, 16, 32), ((8, 12), (4, 6), (2, 3))
    raw = [torch.randn(2, 3, *shape, 8) for shape in shapes]
    anchors = torch.tensor([[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90]] * 3]).float()
    levels = parts.SimOTAAssigner()(raw, batch, anchors, strides)
    assert len(levels) == 3
    for level, stride, (height, width) in zip(levels, strides, shapes, strict=True):
        index = torch.stack(level.index)
        assert index.unique(dim=1).shape == index.shape
        assert ((level.row >= 0) & (level.row < height) & (level.column >= 0) & (level.column < width)).all()
        centre = level.boxes_cxcywh[:, :2]
        assert ((centre >= -0.5) & (centre <= 1.5)).all()
        # Back in pixels, it is a box of that image with that label.
        corner = torch.stack((level.column, level.row), 1)
        pixels = torch.cat((centre + corner, level.boxes_cxcywh[:, 2:]), 1) * stride
        for image, label, (x, y, w, h) in zip(level.image, level.labels, pixels.tolist(), strict=True):
            own = (batch.image_index == image) & (batch.labels == label)
            box = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            assert (batch.boxes[own] - box).abs().amax(1).min() < 1e-3
    boxes = {(int(i), int(c)) for level in levels for i, c in zip(level.image, level.labels, strict=True)}
    assert boxes == set(zip(batch.image_index.tolist(), batch.labels.tolist(), strict=True))


def test_assigner_prefers_what_is_predicted_well(parts):
    batch = batch_of([[8, 8, 40, 40]], [1], [0], size=(64, 64), count=1)
    anchors = torch.tensor([[[4.0, 4.0]], [[32.0, 32.0]]])
    # Each cell predicts a box of the anchor's size in its middle; that of row and column 1 has its centre at 24, 24.
    raw = [torch.zeros(1, 1, 8, 8, 7), torch.zeros(1, 1, 4, 4, 7)]
    fine, coarse = parts.SimOTAAssigner(num_candidates=1)(raw, batch, anchors, (8, 16))
    assert len(fine) == 0
    assert (coarse.row.tolist(), coarse.column.tolist()) == ([1], [1])
    # Its class decides between predictions that fit equally well.
    raw[1] = torch.zeros(1, 2, 4, 4, 7)
    raw[1][0, 0, 1, 1, 5] = raw[1][0, 1, 1, 1, 6] = 5.0
    raw[0] = torch.zeros(1, 2, 8, 8, 7)
    _, coarse = parts.SimOTAAssigner(num_candidates=1)(raw, batch, anchors.expand(2, 2, 2), (8, 16))
    assert coarse.anchor.tolist() == [1]


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_alpha_iou_loss(parts, alpha):
    targets = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 2.0]])
    loss = parts.AlphaIoULoss(alpha)
    assert loss(targets, targets) == pytest.approx(0, abs=1e-5)
    moved = (targets + 0.5).requires_grad_()
    value = loss(moved, targets)
    if alpha == 1:
        assert value.item() == pytest.approx(IoULoss("diou")(moved, targets).item(), abs=1e-6)
    value.backward()
    assert (moved.grad.isfinite()).all()
    assert (moved.grad[:, :2] > 0).any()


def test_grey_out_is_a_function_of_the_key(parts):
    dataset = SyntheticShapes(None, "train", num_train_images=4, image_size=64)
    base = YOLOv5Augmentation()
    transform = parts.GreyOut(probability=1.0, side=0.9, hidden=0.5)
    changed = fewer = 0
    for key in (SampleKey(index, (64, 64), epoch) for index in range(4) for epoch in range(5)):
        first, second, plain = transform(dataset, key), transform(dataset, key), base(dataset, key)
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.boxes, second.boxes)
        covered = (first.image != plain.image).any(-1)
        assert (first.image[covered] == 114).all()
        assert len(first.boxes) == len(first.labels) <= len(plain.boxes)
        changed += bool(covered.any())
        fewer += len(first.boxes) < len(plain.boxes)
    assert changed > 10
    assert fewer > 0
    untouched = parts.GreyOut(probability=0.0)(dataset, key)
    np.testing.assert_array_equal(untouched.image, plain.image)


def test_network_of_swapped_parts(parts):
    backbone = partial(parts.ConvNeXtBackbone, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1))
    detector = Detector(4, backbone=backbone, head=partial(parts.DecoupledHead, width=8)).eval()
    assert detector.features == FeatureInfo((16, 24, 32), (8, 16, 32))
    raw = detector(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in raw] == [(2, 3, 8, 12, 9), (2, 3, 4, 6, 9), (2, 3, 2, 3, 9)]
    boxes, scores = detector.decode(raw)
    assert boxes.shape[:2] == scores.shape[:2] == (2, 3 * (96 + 24 + 6))
    assert scores.max() < 0.01  # objects are rare at first
    again = build_detector(describe(detector), 4).eval()
    again.load_state_dict(detector.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(detector(images), again(images), strict=True))
    assert Path(parts.__file__).parent == ROOT / "examples/research"
