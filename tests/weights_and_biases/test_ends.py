"""How a run begins and ends at W&B: accounts, modes, signals, several processes."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import yaml

from tests.runs import tiny_config, write_shapes
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from tests.weights_and_biases.bench import WANDB, Bench, artifacts, epochs

WRONG_KEY = "local-" + "1" * 40


@pytest.mark.slow
def test_account_is_wrong(bench: Bench) -> None:
    """Said before training, in a line that says what to do."""
    for env in ({"WANDB_API_KEY": WRONG_KEY}, {"WANDB_API_KEY": ""}):
        command = bench.start_fit(**env)
        assert command.wait() == 1, command.output
        assert "Traceback" not in command.output
        assert "error: W&B does not take this run" in command.output
        assert "wandb login" in command.output
        assert "Epoch 0" not in command.output
    for status in (403, 404):
        with bench.server.failing("UpsertBucket", status=status):
            command = bench.start_fit()
            assert command.wait() == 1, command.output
        assert "Traceback" not in command.output
        assert "check entity and project" in command.output
    assert not bench.server.store.projects


@pytest.mark.slow
def test_disabled(bench: Bench) -> None:
    bench.fit(WANDB_MODE="disabled")
    assert not bench.server.requests
    assert not list(bench.directory.glob("wandb*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number: int, bench: Bench) -> None:
    """What is there by then is sent, and the run is not shown as finished."""
    command = bench.start_fit("--trainer.max_epochs=200", "--name=fit")
    bench.server.wait_until(bench.has_epochs(2), timeout=300)
    command.send(number)
    assert command.wait() == 128 + number, command.output
    assert "Traceback" not in command.output
    state = bench.run.state
    assert state == ("preempted" if number == signal.SIGTERM else "failed")
    assert bench.run.exitcode == 128 + number
    last = max(row["epoch"] for row in epochs(bench.run))
    assert f"epoch-{last}" in artifacts(bench.run)
    bench.sync()
    assert bench.run.state == state


@pytest.mark.slow
def test_two_processes_are_one_run(wandb_server: WandbServer, machine: Callable[[str], Machine]) -> None:
    a = machine("a")
    config = tiny_config(write_shapes(a.home / "data", train=8, val=4), max_epochs=2)
    (a.home / "tiny.yaml").write_text(yaml.safe_dump(config))
    processes = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    a.run("yolo-lightning", "fit", "--config=tiny.yaml", "--config", WANDB, *processes)
    (run,) = wandb_server.store.projects["team", "yolo-lightning"].runs_by_name.values()
    assert run.state == "finished"
    assert [row["epoch"] for row in epochs(run)] == [0, 1]
    assert {"epoch-0", "epoch-1"} == artifacts(run).keys()
