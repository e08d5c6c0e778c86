"""A run whose machine is lost goes on at another one, which has nothing."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import tiny_config, write_shapes
from tests.wandb_server.processes import Command, Machine
from tests.wandb_server.server import WandbServer
from yolo_lightning.weights_and_biases.history import MARK

EPOCHS = 6
WANDB = ROOT / "configs" / "logger" / "wandb.yaml"
Machines = Callable[[str], Machine]


def write_config(folder: Path, data: Path, **trainer: Any) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_config(data, max_epochs=EPOCHS, **trainer)))
    return file


def start_fit(machine: Machine, config: Path, *options: str) -> Command:
    return machine.start("yolo-lightning", "fit", "--config", config, "--config", WANDB, *options)


def wait_until(condition: Callable[[], bool], command: Command, timeout: float = 240) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert command.process.poll() is None, command.output
        assert time.monotonic() < end, command.output
        time.sleep(0.05)


def rows_of(run: Any) -> list[dict[str, Any]]:
    return [row for row in run.history_rows if MARK in row]


def figures(row: dict[str, Any]) -> dict[str, float]:
    """Those that no two runs differ in: times and what W&B adds do."""
    return {name: value for name, value in row.items() if not name.startswith(("time/", "_"))}


def has_epoch(server: WandbServer, run: str, epoch: int) -> bool:
    try:
        return server.store.artifact_at(f"team/yolo-lightning/run_{run}_model:epoch-{epoch}") is not None
    except LookupError:
        return False


@pytest.mark.slow
def test_a_lost_run_goes_on_elsewhere(wandb_server: WandbServer, machine: Machines, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data")
    config = write_config(tmp_path, data)
    lost = start_fit(machine("A"), config, "--trainer.logger.id=lost")
    wait_until(lambda: has_epoch(wandb_server, "lost", 2), lost)
    machine("A").power_off()
    run = wandb_server.store.run_at("team/yolo-lightning/lost")
    assert run.state == "running"

    output = machine("B").run("yolo-lightning", "fit", "--resume", "team/yolo-lightning/lost")
    assert "Going on with team/yolo-lightning/lost" in output
    assert run.state == "finished"
    assert [row["epoch"] for row in rows_of(run)] == list(range(EPOCHS))
    assert [row["_step"] for row in run.history_rows] == sorted({row["_step"] for row in run.history_rows})

    machine("C").run("yolo-lightning", "fit", "--config", config, "--config", WANDB, "--trainer.logger.id=whole")
    whole = wandb_server.store.run_at("team/yolo-lightning/whole")
    assert list(map(figures, rows_of(run))) == list(map(figures, rows_of(whole)))
    assert run.summary["best/epoch"] == whole.summary["best/epoch"]
    models = [f"team/yolo-lightning/run_{name}_model:best" for name in ("lost", "whole")]
    epochs = [json.loads(wandb_server.store.artifact_at(model).metadata)["epoch"] for model in models]
    assert epochs[0] == epochs[1]
    # Its own directory is whole, too.
    with (machine("B").home / "runs" / "fit" / "metrics.csv").open(newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(EPOCHS))
    assert (machine("B").home / "runs" / "fit" / "checkpoints" / "best.ckpt").is_file()

    finished = machine("D").start("yolo-lightning", "fit", "--resume", "team/yolo-lightning/lost")
    assert finished.wait() == 1
    assert "this run has finished" in finished.output
    assert "Traceback" not in finished.output


@pytest.mark.slow
def test_a_killed_process_goes_on_in_its_run(wandb_server: WandbServer, machine: Machines, tmp_path: Path) -> None:
    config = write_config(tmp_path, write_shapes(tmp_path / "data"))
    killed = start_fit(machine("A"), config, "--trainer.logger.id=killed")
    wait_until(lambda: has_epoch(wandb_server, "killed", 1), killed)
    killed.kill()
    machine("A").power_off()

    machine("A").run("yolo-lightning", "fit", "--config", "runs/fit/config.yaml", "--ckpt_path", "last")
    (project,) = wandb_server.store.projects.values()
    assert list(project.runs_by_name) == ["killed"]
    run = wandb_server.store.run_at("team/yolo-lightning/killed")
    assert [row["epoch"] for row in rows_of(run)] == list(range(EPOCHS))


@pytest.mark.slow
def test_what_cannot_be_gone_on_with(wandb_server: WandbServer, machine: Machines, tmp_path: Path) -> None:
    def refused(*args: str) -> str:
        command = machine("A").start("yolo-lightning", "fit", *args)
        assert command.wait() == 1, command.output
        assert "Traceback" not in command.output
        return command.output

    assert "does not know this run" in refused("--resume", "team/yolo-lightning/unknown")
    assert "give entity/project/runid" in refused("--resume", "unknown")
    assert "leave --ckpt_path out" in refused("--resume", "team/p/r", "--ckpt_path", "last")

    config = write_config(tmp_path, write_shapes(tmp_path / "data"))
    running = start_fit(machine("B"), config, "--trainer.logger.id=busy", "--trainer.max_epochs=500")
    wait_until(lambda: has_epoch(wandb_server, "busy", 0), running)
    assert "another machine is training this run" in refused("--resume", "team/yolo-lightning/busy")
