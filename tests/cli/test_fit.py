"""``fit``, ``validate`` and ``test`` as a user runs them."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.runs import assert_same_tensors, check_run, figures, load, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.plots.run import PICTURES

# Wider than the cases of one test, so that a process is started once.
COSINE = {
    "model": {
        "init_args": {
            "lr_scheduler": {
                "class_path": "yolo_lightning.optim.CosineSchedule",
                "init_args": {"final_factor": 0.1},
            }
        }
    },
    "name": "shapes",
    "plots": {"enabled": True},
}


@pytest.fixture(scope="module")
def first(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run in a process of its own, from two files and an option."""
    folder = tmp_path_factory.mktemp("fit")
    (folder / "cosine.yaml").write_text(yaml.safe_dump(COSINE))
    check_run("fit", f"--config={config}", "--config=cosine.yaml", "--trainer.max_epochs=4", cwd=folder)
    return folder / "runs" / "shapes"


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(directory: Path) -> list[dict[str, Any]]:
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_directory(first: Path):
    assert [path.name for path in first.parent.iterdir()] == ["shapes"]
    files = content_of(first)
    pictures = {name for name in files if name.startswith("images/")}
    assert set(files) - pictures == {
        "config.yaml",
        "metrics.csv",
        "metrics.json",
        "times.csv",
        "evaluation.npz",
        "labels.npz",
        "checkpoints/best.ckpt",
        "checkpoints/best.safetensors",
        "checkpoints/last.ckpt",
        "checkpoints/last.safetensors",
    }
    assert pictures == {
        *(f"images/{name}" for name in PICTURES),
        "images/train_batch0.jpg",
        "images/train_batch1.jpg",
        "images/train_batch2.jpg",
        "images/val_batch0.jpg",
    }
    assert not [path for path in first.parent.parent.iterdir() if path.name not in {"runs", "cosine.yaml"}]


def test_times(first: Path):
    with (first / "times.csv").open(newline="") as file:
        epochs = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [epoch.pop("step") for epoch in epochs] == [float(row["step"]) for row in rows(first)]
    for epoch in epochs:
        assert 0 < epoch.pop("time/epoch") == pytest.approx(sum(epoch.values()), rel=0.03)


def test_metrics(first: Path):
    epochs = rows(first)
    assert [row["epoch"] for row in epochs] == ["0", "1", "2", "3"]
    assert all(row["train/loss"] and row["val/loss"] and row["val/fitness"] for row in epochs)
    fitness = [float(row["val/fitness"]) for row in epochs]
    best = fitness.index(max(fitness))
    assert max(fitness) > 0
    written = figures(first)
    assert written["epoch"] == best
    assert written["val/fitness"] == pytest.approx(max(fitness))
    for row in epochs:
        parts = 0.1 * float(row["val/yolov5_map_50"]) + 0.9 * float(row["val/yolov5_map"])
        assert float(row["val/fitness"]) == pytest.approx(parts, rel=1e-5)
    assert load(first / "checkpoints" / "best.ckpt")["epoch"] == best
    assert load(first / "checkpoints" / "last.ckpt")["epoch"] == 3


def test_layers_of_configuration(first: Path):
    saved = yaml.safe_load((first / "config.yaml").read_text())
    model = saved["model"]["init_args"]
    assert model["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert model["lr_scheduler"]["class_path"].endswith("CosineSchedule")
    assert model["detector"]["init_args"]["backbone"]["init_args"]["width_multiple"] == 0.125
    assert saved["trainer"]["max_epochs"] == 4
    rates = [float(row["lr/weight"]) for row in rows(first)]
    factors = [0.1 + 0.9 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates == pytest.approx([0.01 * factor for factor in factors], rel=1e-5)


def test_the_saved_configuration_alone_repeats_the_run(first: Path, monkeypatch: pytest.MonkeyPatch):
    before = content_of(first)
    folder = first.parent.parent
    monkeypatch.chdir(folder)
    assert main(["fit", f"--config={first}/config.yaml"]) == 0
    second = folder / "runs" / "shapes-2"
    assert content_of(first) == before
    for name in ("last.ckpt", "best.ckpt"):
        one, other = load(first / "checkpoints" / name), load(second / "checkpoints" / name)
        assert_same_tensors(one["state_dict"], other["state_dict"])
        assert_same_tensors(one["current_model_state"], other["current_model_state"])
    assert content_of(second)["metrics.csv"] == before["metrics.csv"]
    assert figures(second) == figures(first)
    assert (second / "config.yaml").read_text() == (first / "config.yaml").read_text()


@pytest.fixture
def run_in(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.mark.parametrize(("command", "prefix"), [("validate", "val"), ("test", "test")])
def test_evaluation_needs_no_model_option(
    command: str, prefix: str, first: Path, shapes: Path, run_in: Path, capsys: pytest.CaptureFixture[str]
):
    best = first / "checkpoints" / "best.ckpt"
    data = [f"--data.path={shapes}", "--data.image_size=64", "--data.batch_size=4", "--data.num_workers=0"]
    assert main([command, *data, "--trainer.accelerator=cpu", f"--ckpt_path={best}"]) == 0
    assert {path.name for path in (run_in / command).iterdir()} >= {"metrics.json", "images", "config.yaml"}
    measured = figures(run_in / command)
    assert {"map", "map_50", "yolov5_map", "yolov5_map_50", "precision", "recall", "fitness", "loss"} <= {
        name.removeprefix(f"{prefix}/") for name in measured
    }
    output = capsys.readouterr()
    assert all(name in output.out + output.err for name in ("circle", "square", "triangle", "star", "cross"))


def test_the_checkpoint_is_what_was_validated(first: Path, config: Path, run_in: Path):
    """Training saved the averaged weights, and their figures."""
    best = first / "checkpoints" / "best.ckpt"
    assert main(["validate", f"--config={config}", f"--ckpt_path={best}"]) == 0
    expected = {name: value for name, value in figures(first).items() if name.startswith("val/")}
    assert {name: value for name, value in figures(run_in / "validate").items() if name in expected} == expected


def test_a_checkpoint_of_other_classes(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    two = write_shapes(tmp_path / "two", train=1, val=2, names=["circle", "square"])
    for label in (tmp_path / "two" / "labels" / "val").iterdir():
        label.write_text("1 0.5 0.5 0.2 0.2\n")
    options = [f"--data.path={two}", "--data.image_size=64", "--trainer.accelerator=cpu"]
    assert main(["validate", *options, f"--ckpt_path={first}/checkpoints/best.ckpt"]) == 1
    assert "the network has 5 classes [circle" in capsys.readouterr().err


def test_weights_of_other_classes(first: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    two = write_shapes(tmp_path / "two", train=2, val=1, names=["thing", "stuff"])
    for label in (tmp_path / "two" / "labels").rglob("*.txt"):
        label.write_text("1 0.5 0.5 0.2 0.2\n")
    options = [f"--config={config}", f"--data.path={two}", "--trainer.max_epochs=1"]
    assert main(["fit", *options, f"--model.weights={first}/checkpoints/best.ckpt"]) == 0
    saved = load(tmp_path / "runs" / "fit" / "checkpoints" / "last.ckpt")
    assert saved["hyper_parameters"]["class_names"] == ["thing", "stuff"]
    # three levels of the head, weight and bias
    assert "skipped 6\n  head.m.0.weight: shape (30, 32, 1, 1) in the file, (21, 32" in capsys.readouterr().err


def test_early_stopping(config: Path, run_in: Path):
    """Without a single detection the fitness stays 0, and a tie is no improvement."""
    options = ["--model.postprocess.confidence_threshold=0.99", "--early_stopping.patience=1", "--name=stopped"]
    assert main(["fit", f"--config={config}", *options, "--trainer.max_epochs=9"]) == 0
    assert [row["epoch"] for row in rows(run_in / "stopped")] == ["0", "1"]
    assert load(run_in / "stopped" / "checkpoints" / "best.ckpt")["epoch"] == 0


def test_what_is_rounded_or_clamped_is_said(config: Path, run_in: Path):
    options = ["--data.batch_size=100", "--data.image_size=50", "--trainer.max_epochs=1"]
    with (
        pytest.warns(UserWarning, match="batch_size 100 is larger than the 12 training images: using 12"),
        pytest.warns(UserWarning, match=r"image_size 50 is not a multiple of the stride 32: using \(64, 64\)"),
    ):
        assert main(["fit", f"--config={config}", *options]) == 0
    assert len(rows(run_in / "fit")) == 1


def test_a_trial_leaves_no_run_directory(config: Path, run_in: Path):
    assert main(["fit", f"--config={config}", "--trainer.fast_dev_run=true"]) == 0
    assert not run_in.exists()


def test_without_loggers(config: Path, run_in: Path):
    assert main(["fit", f"--config={config}", "--trainer.logger=false", "--trainer.max_epochs=1"]) == 0
    assert figures(run_in / "fit")["epoch"] == 0
    assert not (run_in / "fit" / "metrics.csv").exists()


def test_run_names(config: Path, tmp_path: Path):
    for _ in range(2):
        arguments = [
            "validate",
            f"--config={config}",
            "--runs=elsewhere",
            "--name=trial",
            "--trainer.limit_val_batches=1",
        ]
        assert main(arguments) == 0
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"trial", "trial-2"}


@pytest.mark.slow
def test_data_of_no_files(tmp_path: Path):
    """The synthetic data by class path, two workers, bf16, on the command line alone."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(None)))
    check_run(
        "fit",
        "--config=tiny.yaml",
        "--data.dataset=yolo_lightning.data.SyntheticShapes",
        "--data.dataset.num_train_images=9",
        "--data.dataset.num_val_images=3",
        "--data.num_workers=2",
        "--trainer.precision=bf16-mixed",
        "--trainer.max_epochs=2",
        cwd=tmp_path,
    )
    state = load(tmp_path / "runs" / "fit" / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(value.dtype in {torch.float32, torch.int64} for value in state.values())
