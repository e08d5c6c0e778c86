"""``wandb-sync`` on run directories that are made by hand with the real client."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from tests.weights_and_biases.warm import WarmProcess
from yolo_lightning.cli import main
from yolo_lightning.weights_and_biases.ledger import Entry, Ledger

Machines = Callable[[str], Machine]

MAKE = """
import json, os, sys
from pathlib import Path

import wandb

from yolo_lightning.weights_and_biases.artifact_entries import describe_artifact
from yolo_lightning.weights_and_biases.history import MARK
from yolo_lightning.weights_and_biases.ledger import LEDGER_FILE, Entry, Ledger

directory = Path("runs/fit").absolute()
directory.mkdir(parents=True)
os.environ["WANDB_DATA_DIR"] = str(directory / "wandb" / "data")
run = wandb.init(project="p", id="r", dir=str(directory), mode="online")
for epoch in range(4):
    run.log({"epoch": epoch, MARK: 10 * epoch, "val/fitness": epoch})
run.finish()
(directory / "wandb-run.json").write_text(json.dumps({"entity": "team", "project": "p", "id": "r"}))
ledger = Ledger(directory / LEDGER_FILE)


def add(kind, name, type, aliases=(), references=(), keep_last=None, **metadata):
    folder = directory / "wandb" / "staging" / f"{name}-{len(list(ledger.entries()))}"
    artifact = wandb.Artifact(name, type)
    if not references:
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(f"{name} {metadata}")
        artifact.add_file(str(folder / "file.txt"), policy="immutable", skip_cache=True)
    for reference in references:
        artifact.add_reference(reference, name="file.txt", checksum=False)
    entry = describe_artifact(Entry(kind, name, type, tuple(aliases), metadata, keep_last=keep_last), artifact)
    ledger.add(entry)
    return entry.client_id


def add_model(epoch, fitness, best=False, keep_last=2):
    aliases = ["latest", "last", f"epoch-{epoch}", *(["best"] if best else [])]
    add("log", "run_r_model", "model", aliases, keep_last=keep_last, epoch=epoch, fitness=fitness)

"""


def aliases(server: WandbServer, name: str = "run_r_model") -> list[list[str]]:
    versions = server.store.projects["team", "p"].collections[name].committed
    return [sorted(version.alias_names) for version in versions]


def sync(machine: Machine, warm: WarmProcess) -> tuple[int, str]:
    command = warm.start(["wandb-sync", "runs/fit"], machine.env, machine.home)
    status = command.wait()
    assert "Traceback" not in command.output, command.output
    return status, command.output


@pytest.mark.slow
def test_ledger(wandb_server: WandbServer, machine: Machines, warm: WarmProcess) -> None:
    """Data set, table of references to it, and models: as if W&B had always been there."""
    a = machine("a")
    code = """
    data = add("log", "shapes", "dataset", ["v1.0"])
    add("log", "run_r_predictions", "evaluation", ["epoch-0"], [f"wandb-client-artifact://{data}/file.txt"])
    ledger.add(Entry("use", "team/p/shapes:v0", "dataset"))
    add("use", "colours", "dataset")
    for epoch, fitness, best in ((0, 0.1, True), (1, 0.9, True), (2, 0.3, False), (3, 0.2, False)):
        add_model(epoch, fitness, best)
    """
    a.python(MAKE + textwrap.dedent(code), PYTHONPATH=str(ROOT))
    status, output = sync(a, warm)
    assert status == 0, output
    store = wandb_server.store
    data = store.artifact_at("team/p/shapes:v1.0")
    entry = store.artifact_at("team/p/run_r_predictions:epoch-0").entries["file.txt"]
    assert entry["ref"].startswith("wandb-artifact://")
    assert data.name == "shapes:v0"
    assert sum(name.endswith("file.txt") for name in store.uploaded) == 5
    assert aliases(wandb_server) == [["best", "epoch-1"], ["epoch-2"], ["epoch-3", "last", "latest"]]
    run = store.run_at("team/p/r")
    assert {artifact.artifactSequence.name for artifact in run.used} == {"shapes", "colours"}
    assert run.state == "finished"
    assert not list((a.home / "runs" / "fit" / "wandb" / "staging").iterdir())

    uploaded = list(store.uploaded)
    status, output = sync(a, warm)
    assert status == 0, output
    assert "Nothing was to be sent." in output
    assert store.uploaded == uploaded


@pytest.mark.slow
def test_older_checkpoints_leave_newer_ones_their_aliases(
    wandb_server: WandbServer, machine: Machines, warm: WarmProcess
) -> None:
    """The run went on elsewhere before this directory was sent; a file is gone, an entry is there already."""
    a = machine("a")
    code = """
    for epoch, fitness in ((5, 0.5), (6, 0.4)):
        artifact = wandb.Artifact("run_r_model", "model", metadata={"epoch": epoch, "fitness": fitness})
        with artifact.new_file("file.txt") as file:
            file.write(f"run_r_model {dict(epoch=epoch, fitness=fitness)}")
        run = wandb.init(project="p", id="elsewhere")
        run.log_artifact(artifact, aliases=["last", f"epoch-{epoch}", *(["best"] if epoch == 5 else [])]).wait()
        run.finish()
    add_model(2, 0.9, True, keep_last=3)
    add_model(6, 0.4, keep_last=3)
    add("log", "lost", "dataset", ["epoch-9"])
    """
    a.python(MAKE + textwrap.dedent(code), PYTHONPATH=str(ROOT))
    (gone,) = (a.home / "runs" / "fit" / "wandb" / "staging").glob("lost-*/file.txt")
    gone.unlink()
    status, output = sync(a, warm)
    assert status == 1
    assert output.index(f"{gone} is gone") < output.index("Sent:")
    assert "missing: artifacts: lost:epoch-9" in output
    assert aliases(wandb_server) == [["epoch-5"], ["epoch-6", "last", "latest"], ["best", "epoch-2"]]


def test_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        assert main(["wandb-sync", str(folder)]) == 1
        assert "is not the directory of a run that was logged to W&B" in capsys.readouterr().err
    (tmp_path / "wandb-run.json").write_text('{"entity": "team"')
    assert main(["wandb-sync", str(tmp_path)]) == 1
    assert "wandb-run.json: cannot be read" in capsys.readouterr().err


def test_damaged_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wandb-run.json").write_text(json.dumps({"entity": "team", "project": "p", "id": "r"}))
    ledger = Ledger(tmp_path / "wandb-pending.jsonl")
    ledger.add(Entry("log", "a", "model"))
    ledger.file.write_bytes(b"{damaged\n" + ledger.file.read_bytes())
    assert main(["wandb-sync", str(tmp_path)]) == 1
    assert "wandb-pending.jsonl, line 1: cannot be read" in capsys.readouterr().err


def test_ledger_keeps_what_is_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "wandb-pending.jsonl")
    first, second = Entry("log", "a", "model", ("epoch-0",)), Entry("use", "team/p/b:v0", "dataset")
    for entry in (first, second):
        ledger.add(entry)
    ledger.remove(first)
    assert ledger.entries() == [second]
    assert ledger.all_entries() == [first, second]
