"""A server and a machine for short runs of the command line, and what W&B has of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.wandb_server.processes import kill_processes
from tests.wandb_server.server import WandbServer
from tests.weights_and_biases.warm import WarmCommand, WarmProcess
from yolo_lightning.weights_and_biases.history import MARK

__all__ = ["EPOCHS", "LOGGER", "WANDB", "Bench", "artifacts", "epochs", "figures", "media"]

WANDB = ROOT / "configs" / "logger" / "wandb.yaml"
LOGGER = "--trainer.logger.init_args."
EPOCHS = 3
# so short that tests end, so long that a busy machine keeps to them
PATIENCE = [f"{LOGGER}upload_timeout=100", f"{LOGGER}finish_timeout=10"]


class Bench:
    """A server, and a machine whose commands begin with everything imported."""

    def __init__(self, folder: Path, warm: WarmProcess, config: Path) -> None:
        self.home = folder / "home"
        self.server = WandbServer(folder / "server").start()
        self._warm = warm
        self._config = config
        environment = self.server.env(self.home)
        own = {"YOLO_LIGHTNING_TEST_MACHINE": str(self.home), "YOLO_LIGHTNING_CACHE": str(folder / "cache")}
        self.env = {n: v for n, v in environment.items() if n not in ("WANDB_DATA_DIR", "WANDB_DIR")} | own

    @property
    def directory(self) -> Path:
        return self.home / "runs" / "fit"

    @property
    def run(self) -> Any:
        (run,) = self.server.store.projects["team", "yolo-lightning"].runs_by_name.values()
        return run

    def start(self, *args: object, **env: str) -> WarmCommand:
        return self._warm.start(args, {**self.env, **env}, self.home)

    def start_fit(self, *options: object, **env: str) -> WarmCommand:
        return self.start("fit", "--config", self._config, "--config", WANDB, *PATIENCE, *options, **env)

    def fit(self, *options: object, **env: str) -> str:
        command = self.start_fit(*options, **env)
        assert command.wait() == 0, command.output
        assert "Traceback" not in command.output
        return command.output

    def sync(self, **env: str) -> str:
        """Sends what is missing of the run; nothing is then."""
        command = self.start("wandb-sync", self.directory, **env)
        assert command.wait() == 0, command.output
        assert "Nothing is missing" in command.output
        return command.output

    def sync_twice(self) -> None:
        """The second time sends nothing."""
        assert "Nothing was to be sent." not in self.sync()
        rows = list(self.run.history_rows)
        assert "Nothing was to be sent." in self.sync()
        assert self.run.history_rows == rows

    def has_epochs(self, count: int) -> Callable[[object], bool]:
        def condition(_: object = None) -> bool:
            return any(len(epochs(run)) >= count for run in self._runs())

        return condition

    def has_checkpoint(self, _: object = None) -> bool:
        """Whether the first is there; a run waits for its checkpoints before it tells its end."""
        return any(artifact.state == "COMMITTED" for run in self._runs() for artifact in list(run.logged))

    def _runs(self) -> list[Any]:
        return [r for project in list(self.server.store.projects.values()) for r in list(project.runs_by_name.values())]

    def close(self) -> None:
        kill_processes(self.home)
        self.server.stop()


def epochs(run: Any) -> list[dict[str, Any]]:
    return [row for row in run.history_rows if MARK in row]


def figures(run: Any) -> list[dict[str, Any]]:
    """Those that no two runs differ in, in the order of epochs."""
    rows = sorted(epochs(run), key=lambda row: row["epoch"])
    return [{name: value for name, value in row.items() if not name.startswith(("time/", "_"))} for row in rows]


def artifacts(run: Any) -> dict[str, list[str]]:
    """Aliases of the versions that are there, by the epoch of each."""
    there = [artifact for artifact in run.logged if artifact.state == "COMMITTED"]
    assert all({"last.ckpt", "config.yaml"} <= artifact.entries.keys() for artifact in there)
    named = {alias: artifact for artifact in there for alias in artifact.alias_names}
    return {alias: sorted(artifact.alias_names) for alias, artifact in named.items() if alias.startswith("epoch-")}


def media(run: Any) -> list[str]:
    """Names of the pictures without what tells steps and contents apart."""
    names = [name for name in run.files_by_name if name.startswith("media/")]
    return sorted(re.sub(r"_\d+_[0-9a-f]+(?=\.)", "", name) for name in names)
