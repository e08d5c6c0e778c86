"""A run whose machine is lost goes on at another one, which has nothing."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import tiny_config, write_shapes
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from tests.weights_and_biases.warm import WarmCommand, WarmProcess
from yolo_lightning.weights_and_biases.history import MARK

EPOCHS = 12  # long enough for a machine to be lost meanwhile
WANDB = ROOT / "configs" / "logger" / "wandb.yaml"
Machines = Callable[[str], Machine]
Run = Callable[..., WarmCommand]


@pytest.fixture
def start(warm: WarmProcess, machine: Machines) -> Run:
    """``start("A", "fit", …)`` on the machine of the name."""

    def start(name: str, *args: object) -> WarmCommand:
        return warm.start(args, machine(name).env, machine(name).home)

    return start


@pytest.fixture
def run(start: Run) -> Run:
    """The same to the end, which must be a good one."""

    def run(name: str, *args: object) -> WarmCommand:
        command = start(name, *args)
        assert command.wait() == 0, command.output
        return command

    return run


def write_config(folder: Path, data: Path, **trainer: Any) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_config(data, max_epochs=EPOCHS, **trainer)))
    return file


def wait_until(condition: Callable[[], bool], command: WarmCommand, timeout: float = 240) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert command.status is None, command.output
        assert time.monotonic() < end, command.output
        time.sleep(0.05)


def rows_of(run: Any) -> list[dict[str, Any]]:
    return [row for row in run.history_rows if MARK in row]


def figures(row: dict[str, Any]) -> dict[str, float]:
    """Those that no two runs differ in: times and what W&B adds do."""
    return {name: value for name, value in row.items() if not name.startswith(("time/", "_"))}


def has_epoch(server: WandbServer, run: str, epoch: int) -> bool:
    """Whether the checkpoint of this epoch is there, or of a later one: where sending is slow some are left out."""
    try:
        last = server.store.artifact_at(f"team/yolo-lightning/run_{run}_model:last")
    except LookupError:
        return False
    return json.loads(last.metadata)["epoch"] >= epoch


@pytest.mark.slow
def test_a_lost_run_goes_on_elsewhere(
    wandb_server: WandbServer, machine: Machines, start: Run, run: Run, tmp_path: Path
) -> None:
    data = write_shapes(tmp_path / "data")
    config = write_config(tmp_path, data)
    store = wandb_server.store
    run("A", "dataset", "upload", data, "--name=shapes")
    lost = start(
        "A", "fit", "--config", config, "--data.path=runs/dataset/data.yaml", "--config", WANDB,
        "--trainer.logger.id=lost", "--name=lost",
    )  # fmt: skip
    wait_until(lambda: has_epoch(wandb_server, "lost", 2), lost)
    machine("A").power_off()
    at_wandb = store.run_at("team/yolo-lightning/lost")
    assert at_wandb.state == "running"

    resumed = run("B", "fit", "--resume", "team/yolo-lightning/lost")
    assert "Going on with team/yolo-lightning/lost" in resumed.output
    assert at_wandb.state == "finished"
    rows = rows_of(at_wandb)
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    steps = [row["_step"] for row in at_wandb.history_rows]
    assert steps == sorted(set(steps))

    # All that one process on one machine would have given: to the last digit.
    run("C", "fit", "--config", config, "--config", WANDB, "--trainer.logger.id=whole")
    whole = store.run_at("team/yolo-lightning/whole")
    assert list(map(figures, rows)) == list(map(figures, rows_of(whole)))
    assert at_wandb.summary["best/epoch"] == whole.summary["best/epoch"]
    models = [store.artifact_at(f"team/yolo-lightning/run_{name}_model:best") for name in ("lost", "whole")]
    assert len({json.loads(model.metadata)["epoch"] for model in models}) == 1

    # data -> run -> model
    dataset = store.artifact_at("team/yolo-lightning/shapes:latest")
    assert dataset in at_wandb.used
    assert models[0] in at_wandb.logged
    images = [name for name in store.uploaded if name.endswith(".png") and "/images/" in name]
    assert images
    assert max(Counter(images).values()) == 1

    directory = machine("B").home / "runs" / "lost"
    with (directory / "metrics.csv").open(newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(EPOCHS))
    assert (directory / "checkpoints" / "best.ckpt").is_file()

    finished = start("D", "fit", "--resume", "team/yolo-lightning/lost")
    assert finished.wait() == 1
    assert "this run has finished" in finished.output
    assert "Traceback" not in finished.output


@pytest.mark.slow
def test_a_killed_process_goes_on_in_its_run(
    wandb_server: WandbServer, machine: Machines, start: Run, run: Run, tmp_path: Path
) -> None:
    config = write_config(tmp_path, write_shapes(tmp_path / "data"))
    killed = start("A", "fit", "--config", config, "--config", WANDB, "--trainer.logger.id=killed")
    wait_until(lambda: has_epoch(wandb_server, "killed", 1), killed)
    killed.kill()
    machine("A").power_off()

    run("A", "fit", "--config", "runs/fit/config.yaml", "--ckpt_path", "last")
    (project,) = wandb_server.store.projects.values()
    assert list(project.runs_by_name) == ["killed"]
    at_wandb = wandb_server.store.run_at("team/yolo-lightning/killed")
    assert [row["epoch"] for row in rows_of(at_wandb)] == list(range(EPOCHS))


@pytest.mark.slow
def test_what_cannot_be_gone_on_with(wandb_server: WandbServer, start: Run, tmp_path: Path) -> None:
    def refused(*args: str) -> str:
        command = start("A", "fit", *args)
        assert command.wait() == 1, command.output
        assert "Traceback" not in command.output
        return command.output

    assert "does not know this run" in refused("--resume", "team/yolo-lightning/unknown")
    assert "give entity/project/runid" in refused("--resume", "unknown")
    assert "leave --ckpt_path out" in refused("--resume", "team/p/r", "--ckpt_path", "last")

    config = write_config(tmp_path, write_shapes(tmp_path / "data"))
    running = start(
        "B", "fit", "--config", config, "--config", WANDB, "--trainer.logger.id=busy", "--trainer.max_epochs=500"
    )
    wait_until(lambda: has_epoch(wandb_server, "busy", 0), running)
    assert "another machine is training this run" in refused("--resume", "team/yolo-lightning/busy")
