"""A run that was killed goes on as if nothing had happened."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs import assert_same_tensors, check_run, load, run, tiny_config

KILL = {"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.Kill", "init_args": {"epoch": 2}}]}}


def callback_state(checkpoint: dict[str, Any], name: str) -> dict[str, Any]:
    (state,) = (state for key, state in checkpoint["callbacks"].items() if key.startswith(name))
    return dict(state)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [0.01, 0.0], ids=["learns", "never improves"])
def test_killed_and_resumed_is_uninterrupted(learning_rate: float, shapes: Path, tmp_path: Path):
    config = tiny_config(shapes, max_epochs=4)
    config["model"]["init_args"]["optimizer"]["init_args"]["lr"] = learning_rate
    if learning_rate == 0:
        # no detection at all: the first epoch stays the best one
        config["model"]["init_args"]["postprocess"]["init_args"]["confidence_threshold"] = 0.99
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "kill.yaml").write_text(yaml.safe_dump(KILL))
    runs = tmp_path / "runs"

    check_run("fit", "--config=tiny.yaml", "--name=whole", cwd=tmp_path)
    killed = run("fit", "--config=tiny.yaml", "--config=kill.yaml", "--name=killed", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    last = runs / "killed" / "checkpoints" / "last.ckpt"
    at_kill = load(last)
    assert at_kill["epoch"] == 1
    left = {path: path.read_bytes() for path in (runs / "killed").rglob("*") if path.is_file()}

    check_run("fit", "--config=tiny.yaml", f"--ckpt_path={last}", "--name=resumed", cwd=tmp_path)
    assert {path: path.read_bytes() for path in left} == left

    whole, resumed = (load(runs / name / "checkpoints" / "last.ckpt") for name in ("whole", "resumed"))
    assert whole["epoch"] == resumed["epoch"] == 3
    assert whole["global_step"] == resumed["global_step"] > at_kill["global_step"]
    assert_same_tensors(whole["state_dict"], resumed["state_dict"])
    assert_same_tensors(whole["current_model_state"], resumed["current_model_state"])
    groups = [checkpoint["optimizer_states"][0]["param_groups"] for checkpoint in (whole, resumed)]
    assert groups[0] == groups[1]
    for name in ("EMA", "EarlyStopping", "MetricsFile"):
        assert callback_state(whole, name) == callback_state(resumed, name), name
    best, best_resumed = callback_state(whole, "RunCheckpoint"), callback_state(resumed, "RunCheckpoint")
    assert best["best_model_score"] == best_resumed["best_model_score"]

    # the rates, losses and figures of the epochs before and after the kill
    assert rows(runs / "resumed") == rows(runs / "whole")
    assert [row["epoch"] for row in rows(runs / "resumed")] == ["0", "1", "2", "3"]

    one, other = (load(runs / name / "checkpoints" / "best.ckpt") for name in ("whole", "resumed"))
    assert one["epoch"] == other["epoch"]
    assert_same_tensors(one["state_dict"], other["state_dict"])
    files = [(runs / name / "metrics.json").read_text() for name in ("whole", "resumed")]
    assert files[0] == files[1]
