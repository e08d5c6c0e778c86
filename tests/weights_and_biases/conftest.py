"""Offline runs, made once by the real client in a process of its own, and runs of the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.runs import tiny_config, write_shapes
from tests.wandb_server.fixtures import machine, wandb_server
from tests.wandb_server.processes import Machine
from tests.weights_and_biases.bench import EPOCHS, Bench
from tests.weights_and_biases.warm import WarmProcess

__all__ = ["machine", "wandb_server"]

RUN = """
import json
from pathlib import Path

import numpy as np
import wandb

NAMES = {0: "person", 1: "car"}
BOX = {"position": {"middle": [0.5, 0.5], "width": 0.2, "height": 0.4}, "class_id": 1, "scores": {"conf": 0.5}}


def picture(number_of_boxes):
    boxes = {"predictions": {"box_data": [BOX] * number_of_boxes, "class_labels": NAMES}}
    return wandb.Image(np.zeros((8, 8, 3), np.uint8), boxes=boxes)


run = wandb.init(project="p", id="r", mode="offline", config={"lr": 0.01, "nested": {"a": 1}}, tags=["t"])
run.define_metric("val/map", step_metric="epoch")
run.config.update({"lr": 0.1}, allow_val_change=True)
for epoch in range(2000):
    run.log({"epoch": epoch, "nested": {"text": "x" * (epoch % 97)}})
run.log({"large": "y" * 200_000})
run.log({"one": picture(1), "several": [picture(n) for n in range(3)], "not a number": float("nan")})
run.summary["best/map"] = 0.5
run.summary["gone"] = 1
del run.summary["gone"]
Path("saved.txt").write_text("saved")
run.save("saved.txt")
run.save("none*.txt", policy="end")
artifact = wandb.Artifact("d", "dataset", metadata={"images": 1})
artifact.add_file("saved.txt", name="data/saved.txt")
artifact.add_reference("https://example.com/a.png", name="a.png", checksum=False)
run.log_artifact(artifact, aliases=["first"])
print("printed")
run.finish()
"""


def offline_machine(home: Path) -> Machine:
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_DATA_DIR": str(home / "data"), "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    return Machine(home, kept | own | {"HOME": str(home), "WANDB_MODE": "offline"})


@pytest.fixture(scope="session")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that ended; not to be changed."""
    machine = offline_machine(tmp_path_factory.mktemp("offline") / "home")
    machine.python(RUN)
    (directory,) = (machine.home / "wandb").glob("offline-run-*-r")
    return directory


@pytest.fixture
def run_with(tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes a run directory with a log of these bytes."""

    def make(content: bytes) -> Path:
        directory = tmp_path / "offline-run-20260101_120000-r"
        directory.mkdir(exist_ok=True)
        (directory / "run-r.wandb").write_bytes(content)
        return directory

    return make


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    with WarmProcess(tmp_path_factory.mktemp("warm")) as process:
        yield process


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_config(write_shapes(folder / "data", train=8, val=3), max_epochs=EPOCHS)))
    return file


@pytest.fixture(scope="session")
def undisturbed(warm: WarmProcess, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A run that W&B has seen to its end, and one without a logger."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"), warm, config)
    bench.fit()
    plain = bench.start("fit", "--config", config, "--name=plain")
    assert plain.wait() == 0, plain.output
    yield bench
    bench.close()


@pytest.fixture
def bench(warm: WarmProcess, config: Path, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, warm, config)
    yield bench
    bench.close()
    assert not bench.server.missing
    assert not bench.server.errors
