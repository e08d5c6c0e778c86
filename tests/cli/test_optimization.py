"""Optimizers, schedules and frozen layers, chosen on the command line and in YAML."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.runs import load
from yolo_lightning.cli import main

DECAY = 0.02


def rates(directory: Path, group: str = "weight") -> list[float]:
    with (directory / "metrics.csv").open(newline="") as file:
        return [float(row[f"lr/{group}"]) for row in csv.DictReader(file)]


def last(tmp_path: Path, name: str = "fit") -> dict[str, Any]:
    return load(tmp_path / "runs" / name / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam"])
def test_any_optimizer_trains_three_groups(optimizer: str, config: Path, tmp_path: Path):
    options = [f"--model.optimizer=torch.optim.{optimizer}", "--model.optimizer.lr=0.001", "--trainer.max_epochs=2"]
    options.append(f"--model.optimizer.weight_decay={DECAY}")
    assert main(["fit", f"--config={config}", *options]) == 0
    checkpoint = last(tmp_path)
    (state,) = checkpoint["optimizer_states"]
    decays = {group["name"]: group["weight_decay"] for group in state["param_groups"]}
    # batches of 4, two of them for a step of the nominal 8
    assert decays == pytest.approx({"bias": 0, "weight": DECAY, "norm": 0})
    indices = [index for group in state["param_groups"] for index in group["params"]]
    parameters = [name for name in checkpoint["state_dict"] if name.rpartition(".")[2] in {"weight", "bias"}]
    assert len(indices) == len(set(indices)) == len(parameters)
    assert all(value.isfinite().all() for value in checkpoint["current_model_state"].values())
    assert rates(tmp_path / "runs" / "fit") == pytest.approx([0.001, 0.001 * 0.505])


def test_a_schedule_of_one_s_own(config: Path, tmp_path: Path):
    schedule = {"class_path": "tests.cli.schedules.Steps", "init_args": {"epochs": [1, 2], "by": 0.5}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"lr_scheduler": schedule}}}))
    assert main(["fit", f"--config={config}", "--config=own.yaml"]) == 0
    assert rates(tmp_path / "runs" / "fit") == pytest.approx([0.01, 0.005, 0.0025])
    saved = yaml.safe_load((tmp_path / "runs" / "fit" / "config.yaml").read_text())
    assert saved["model"]["init_args"]["lr_scheduler"] == schedule


def test_stable_decay(config: Path, tmp_path: Path):
    options = ["--model.lr_scheduler=StableDecaySchedule", "--model.lr_scheduler.decay_fraction=0.5"]
    assert main(["fit", f"--config={config}", *options, "--trainer.max_epochs=4"]) == 0
    factors = [1, 1, 1, 1 - 0.99 * math.sqrt(0.5)]
    assert rates(tmp_path / "runs" / "fit") == pytest.approx([0.01 * factor for factor in factors])


def test_a_schedule_with_a_bad_argument(config: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--model.lr_scheduler=StableDecaySchedule", "--model.lr_scheduler.decay_fraction=2"]
    assert main(["fit", f"--config={config}", *options]) == 1
    assert "decay_fraction must be in (0, 1], got 2" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- freeze


def moved(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[1] for name, value in first.items() if not torch.equal(value, second[name])}


def test_freeze_as_yolov5_counts(config: Path, tmp_path: Path):
    assert main(["fit", f"--config={config}", "--freeze.layers=10", "--trainer.max_epochs=2"]) == 0
    assert main(["fit", f"--config={config}", "--freeze.layers=10", "--trainer.max_epochs=1", "--name=one"]) == 0
    one, three = last(tmp_path, "one"), last(tmp_path)
    for part in ("state_dict", "current_model_state"):
        assert moved(one[part], three[part]) == {"neck", "head"}
    assert [group["name"] for group in three["optimizer_states"][0]["param_groups"]] == ["bias", "weight", "norm"]


def test_feature_extraction_then_fine_tuning(config: Path, tmp_path: Path):
    frozen = [f"--config={config}", "--freeze.layers=[backbone]"]
    options = ["--freeze.unfreeze_epoch=1", "--freeze.unfreeze_lr_factor=0.1", "--name=both"]
    assert main(["fit", *frozen, *options]) == 0
    assert main(["fit", *frozen, "--trainer.max_epochs=1", "--name=one"]) == 0
    assert moved(last(tmp_path, "one")["state_dict"], last(tmp_path, "both")["state_dict"]) == {
        "backbone", "neck", "head",
    }  # fmt: skip
    directory = tmp_path / "runs" / "both"
    assert rates(directory, "weight_unfrozen") == pytest.approx([0.1 * rate for rate in rates(directory)])


def test_a_layer_that_is_not_there(config: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fit", f"--config={config}", "--freeze.layers=[spine]"]) == 1
    assert "the network has no layer 'spine'. It has numbers 0…24, names backbone," in capsys.readouterr().err
