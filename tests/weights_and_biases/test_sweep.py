"""The shipped sweep, worked through by wandb's own agent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import tiny_config, write_shapes
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from yolo_lightning.cli import main, training

SWEEP = ROOT / "configs" / "sweep.yaml"


class _Parsed(Exception):  # noqa: N818
    pass


def sweep() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SWEEP.read_text())
    return content


@pytest.mark.parametrize("end", ["min", "max"])
def test_options_are_those_of_fit(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command as the agent makes it, at both ends of the ranges, is parsed, and each parameter arrives."""
    monkeypatch.chdir(ROOT)
    values = {name: parameter[end] for name, parameter in sweep()["parameters"].items()}
    words = [word for word in sweep()["command"] if not word.startswith("${")]
    assert words[0] == "fit"

    def stop(cli: training.YOLOCLI) -> None:
        raise _Parsed(cli.config.fit)

    monkeypatch.setattr(training.YOLOCLI, "before_instantiate_classes", stop)
    with pytest.raises(_Parsed) as parsed:
        training.run([*words, *(f"--{name}={value}" for name, value in values.items())])
    config = parsed.value.args[0]
    for name, value in values.items():
        inner = config
        for key in name.split("."):
            inner = inner.init_args if key not in inner else inner
            inner = inner[key]
        assert inner == value, name


@pytest.mark.slow
def test_two_trials(wandb_server: WandbServer, machine: Callable[[str], Machine], tmp_path: Path) -> None:
    """Each is a run with hyperparameters of its own, and the figure that the sweep maximises."""
    config = tiny_config(write_shapes(tmp_path / "data", train=8, val=3), max_epochs=1)
    del config["model"]["init_args"]["optimizer"]
    a = machine("a")
    (a.home / "tiny.yaml").write_text(yaml.safe_dump(config))
    content = sweep()
    command = content["command"]
    logger = f"--config={ROOT / 'configs' / 'logger' / 'wandb.yaml'}"
    content["command"] = [*command[: command.index("fit") + 1], "--config=tiny.yaml", logger, command[-1]]
    content["run_cap"] = 2
    (a.home / "sweep.yaml").write_text(yaml.safe_dump(content))
    a.run(sys.executable, "-m", "wandb", "sweep", "--project", "swept", "sweep.yaml")
    ((name, made),) = wandb_server.store.projects["team", "swept"].sweeps_by_name.items()
    agent = a.start(sys.executable, "-m", "wandb", "agent", "--count", "2", f"team/swept/{name}")
    assert agent.wait(timeout=800) == 0, agent.output

    runs = made.sweep_runs
    assert [run.state for run in runs] == ["finished", "finished"]
    rates = []
    for run in runs:
        saved = run.config_values
        rates.append(saved["model.optimizer.lr"])
        assert saved["model"]["init_args"]["optimizer"]["init_args"]["lr"] == rates[-1]
        assert run.summary["val/fitness"] >= 0
    assert rates[0] != rates[1]


def test_command_line_says_what_a_sweep_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is for `wandb sweep`: given to `fit` it is refused by the name of a key."""
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(SWEEP)])
    assert "parameters" in capsys.readouterr().err
