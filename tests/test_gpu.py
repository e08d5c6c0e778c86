"""What needs a GPU: precisions, memory, times, suppression, and the figures of the reference once more."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.runs import assert_same_tensors, figures, load, run, tiny_config, write_shapes
from tests.test_module import make_data, make_module, make_trainer
from yolo_lightning import load as load_predictor
from yolo_lightning.cli import main
from yolo_lightning.models import yolov5
from yolo_lightning.ops import NMS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

PARTS = ("data", "copy", "forward", "backward", "optimizer", "callbacks", "validation")


@pytest.fixture(autouse=True)
def _exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Convolutions in full float32, and runs in a directory of the test."""
    monkeypatch.chdir(tmp_path)
    for variable in ("YOLO_LIGHTNING_RUN_DIRECTORY", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def fit(shapes: Path, tmp_path: Path):
    """Trains the tiny network on the GPU; returns the run directory."""

    def call(*options: str, name: str = "fit") -> Path:
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump(tiny_config(shapes, accelerator="gpu", devices=1, max_epochs=3)))
        assert main(["fit", f"--config={file}", f"--name={name}", *options]) == 0
        return tmp_path / "runs" / name

    return call


def losses(directory: Path) -> list[float]:
    """Of each epoch."""
    with (directory / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def test_the_default_is_bfloat16_where_the_gpu_has_it(fit):
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    assert yaml.safe_load((fit() / "config.yaml").read_text())["trainer"]["precision"] == (
        "bf16-mixed" if native else "16-mixed"
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_every_precision_learns_and_is_validated_as_it_was(precision: str, fit, shapes: Path, tmp_path: Path):
    directory = fit(f"--trainer.precision={precision}")
    first, *_, last = losses(directory)
    assert np.isfinite([first, last]).all()
    assert last < first
    content = load(directory / "checkpoints" / "last.ckpt")
    assert all(bool(tensor.isfinite().all()) for tensor in content["state_dict"].values())
    if precision != "bf16-true":
        best = directory / "checkpoints" / "best.ckpt"
        options = [f"--config={tmp_path}/tiny.yaml", f"--trainer.precision={precision}", f"--ckpt_path={best}"]
        assert main(["validate", *options, "--name=again"]) == 0
        again = figures(tmp_path / "runs" / "again")
        assert again == pytest.approx({key: figures(directory)[key] for key in again}, abs=1e-3)


def test_float32_follows_the_cpu(one_thread: None):
    """The same samples and weights at the start: the same weights after one epoch, up to rounding."""
    trained = []
    for accelerator in ("cpu", "gpu"):
        module = make_module()
        trainer = make_trainer(accelerator=accelerator, devices=1, precision="32-true", max_epochs=1)
        trainer.fit(module, datamodule=make_data())
        trained.append({name: tensor.cpu() for name, tensor in module.state_dict().items()})
    for name, expected in trained[0].items():
        torch.testing.assert_close(
            trained[1][name], expected, rtol=2e-3, atol=2e-4, msg=lambda text, at=name: at + text
        )


def test_a_run_that_goes_on_ends_like_one_that_never_stopped(fit, tmp_path: Path):
    options = ["--trainer.precision=32-true", "--trainer.deterministic=true"]
    whole = load(fit(*options, name="whole") / "checkpoints" / "last.ckpt")
    kill = {"class_path": "tests.cli.callbacks.Kill", "init_args": {"epoch": 2}}
    (tmp_path / "kill.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [kill]}}))
    run("fit", "--config=tiny.yaml", "--config=kill.yaml", "--name=part", *options, cwd=tmp_path)
    checkpoint = tmp_path / "runs" / "part" / "checkpoints" / "last.ckpt"
    assert load(checkpoint)["epoch"] == 1
    resumed = load(fit(*options, f"--ckpt_path={checkpoint}", name="resumed") / "checkpoints" / "last.ckpt")
    assert_same_tensors(resumed["current_model_state"], whole["current_model_state"])
    assert_same_tensors(resumed["state_dict"], whole["state_dict"])


def test_the_batch_is_measured(fit, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        for name in ("lightning", "lightning.pytorch"):
            logging.getLogger(name).propagate = True
        directory = fit("--data.batch_size=auto", "--trainer.max_epochs=1", "--data.image_size=256")
    said = [record.getMessage() for record in caplog.records if "AutoBatch" in record.getMessage()]
    print(*said, sep="\n")
    assert any("GiB by batch size" in text and torch.cuda.get_device_name() in text for text in said)
    assert len(losses(directory)) == 1


def test_the_parts_of_an_epoch_add_up(fit):
    with (fit() / "times.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        print(row)
        assert sum(float(row[f"time/{part}"]) for part in PARTS) == pytest.approx(float(row["time/epoch"]), rel=0.03)


def test_compiled_code_learns_the_same(fit):
    options = ("--trainer.precision=32-true",)
    assert losses(fit("--model.compile=true", *options, name="compiled")) == pytest.approx(
        losses(fit(*options, name="eager")), rel=0.02
    )


def test_ddp_with_synchronised_batch_norm(fit):
    """One process, through NCCL: what a single GPU can show."""
    options = ("--trainer.precision=32-true",)
    synchronised = fit("--trainer.strategy=ddp", "--trainer.sync_batchnorm=true", *options, name="ddp")
    assert losses(synchronised) == pytest.approx(losses(fit(*options, name="plain")), rel=0.02)


@pytest.mark.parametrize("multi_label", [False, True])
def test_suppression_finds_the_same_on_gpu_and_cpu(multi_label: bool):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(4, 3000, 2, generator=generator) * 600
    boxes = torch.cat([corners, corners + 4 + torch.rand(4, 3000, 2, generator=generator) * 200], dim=-1)
    scores = torch.rand(4, 3000, 5, generator=generator) ** 3
    nms = NMS(confidence_threshold=0.05, iou_threshold=0.5, multi_label=multi_label)
    for ours, expected in zip(nms(boxes.cuda(), scores.cuda()), nms(boxes, scores), strict=True):
        assert len(expected.scores) > 50
        assert ours.boxes.is_cuda
        torch.testing.assert_close(ours.boxes.cpu(), expected.boxes, rtol=0, atol=0)
        torch.testing.assert_close(ours.scores.cpu(), expected.scores, rtol=0, atol=0)
        assert torch.equal(ours.labels.cpu(), expected.labels)


@pytest.mark.parametrize(
    ("precision", "augment", "pixels", "score"),
    [("float32", False, 0.05, 5e-4), ("float32", True, 0.05, 5e-4), ("float16", False, 3.0, 0.02)],
)
def test_published_detections(precision, augment, pixels, score, shared: Path, golden: Path):
    """Half precision may lose or find what lies within its rounding of a threshold."""
    predictor = load_predictor(shared / "weights/yolov5n.pt", device="cuda", precision=precision, augment=augment)
    wanted_figures = json.loads((golden / "official_yolov5n_detections.json").read_text())
    num_missing = num_wanted = 0
    for folder in (shared / "data/images", shared / "data/coco-mini/images/val"):
        for path in sorted(folder.glob("*.jpg")):
            if path.name not in wanted_figures:
                continue
            rows = wanted_figures[path.name]["detect_tta" if augment else "detect"]
            found = predictor(path).detections[0]
            num_wanted += len(rows)
            for *box, confidence, label in rows:
                near = (
                    ((found.boxes - torch.tensor(box)).abs().amax(1) < pixels)
                    & ((found.scores - confidence).abs() < score)
                    & (found.labels == int(label))
                )
                num_missing += not bool(near.any())
            if precision == "float32":
                assert len(found.scores) == len(rows), path.name
    assert num_wanted > 50
    assert num_missing <= (0 if precision == "float32" else 0.05 * num_wanted)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_published_validation(precision: str, shared: Path, golden: Path, tmp_path: Path):
    words = [f"--model.weights={shared}/weights/yolov5n.pt", f"--data.path={shared}/data/coco-mini/data.yaml"]
    options = ["--data.eval_batch_size=6", "--data.num_workers=0", f"--trainer.precision={precision}"]
    root = Path(__file__).parents[1]
    assert main(["validate", f"--config={root}/configs/model/yolov5n.yaml", *words, *options]) == 0
    measured = figures(tmp_path / "runs" / "validate")
    expected = json.loads((golden / "official_yolov5n_val.json").read_text())["coco-mini@640"]
    tolerance = 2e-3 if precision == "32-true" else 1.5e-2
    print(precision, measured["val/yolov5_map_50"], measured["val/yolov5_map"])
    assert measured["val/yolov5_map_50"] == pytest.approx(expected["map50"], abs=tolerance)
    assert measured["val/yolov5_map"] == pytest.approx(expected["map50_95"], abs=tolerance)


def test_detect_in_half_precision(shared: Path, tmp_path: Path):
    words = [str(shared / "weights/yolov5n.pt"), str(shared / "data/images"), "--device=cuda", "--precision=float16"]
    assert main(["detect", *words, "--batch-size=2", "--save-json"]) == 0
    entries = json.loads((tmp_path / "runs/detect/detections.json").read_text())
    assert all(entry["detections"] for entry in entries)


@pytest.mark.parametrize("size", ["n", "m", "x6"])
def test_networks_compute_the_same(size: str):
    torch.manual_seed(0)
    network: Any = yolov5(size).eval()
    images = torch.rand(1, 3, 128, 192)
    with torch.inference_mode():
        boxes, scores = network.decode(network(images))
        network.cuda()
        on_gpu = network.decode(network(images.cuda()))
    check = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-2)
    check(on_gpu[0].cpu(), boxes)
    check(on_gpu[1].cpu(), scores, atol=1e-5)
