"""Offline runs, made once by the real client in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.wandb_server.fixtures import machine, wandb_server
from tests.wandb_server.processes import Machine

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
