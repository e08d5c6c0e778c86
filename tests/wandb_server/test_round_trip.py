"""One training over three machines: lost and resumed elsewhere, and once offline with a sync afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from yolo_lightning.weights_and_biases.artifact_files import artifact_files
from yolo_lightning.weights_and_biases.run_log import RunLog

COMMON = """
import time
from pathlib import Path
import numpy as np, wandb
from PIL import Image

NAMES = {0: "person", 1: "car"}
BOX = {"position": {"middle": [0.5, 0.5], "width": 0.2, "height": 0.4}, "class_id": 1}
CLASSES = wandb.Classes([{"id": k, "name": v} for k, v in NAMES.items()])

def boxes(group, **extra):
    return {group: {"box_data": [{**BOX, **extra}], "class_labels": NAMES}}

def upload_data(run):
    data = Path("data/images/val")
    data.mkdir(parents=True)
    table = wandb.Table(columns=["id", "image"])
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{i}.png")
        table.add_data(i, wandb.Image(str(data / f"{i}.png"), classes=CLASSES, boxes=boxes("ground_truth")))
    artifact = wandb.Artifact("coco3", "dataset", metadata={"images": 3})
    artifact.add_dir("data", name="data")
    artifact.add(table, "val")
    return run.log_artifact(artifact)

def train(run, epochs):
    for epoch in epochs:
        run.log({"epoch": epoch, "metrics/mAP": epoch / 10})
        Path("last.ckpt").write_text(f"weights of epoch {epoch}")
        artifact = wandb.Artifact(f"run_{run.id}_model", "model", metadata={"epoch": epoch})
        artifact.add_file("last.ckpt")
        artifact = run.log_artifact(artifact, aliases=["last", f"epoch-{epoch}"])
    return artifact
"""

UNTIL_KILLED = """
run = wandb.init(project="demo", id="run1", config={"lr": 0.01},
                 settings=wandb.Settings(x_file_stream_transmit_interval=1))
upload_data(run).wait()
train(run, range(3)).wait()
time.sleep(600)
"""

RESUMED = """
run = wandb.init(entity="team", project="demo", id="run1", resume="must")
assert run.resumed and run.config["lr"] == 0.01
model = run.use_artifact("run_run1_model:last")
print("resuming after", Path(model.download(), "last.ckpt").read_text())
data = run.use_artifact("coco3:latest", type="dataset")
data.download()
result = wandb.Table(columns=["epoch", "id", "image"])
for i, image in data.get("val").data:
    result.add_data(3, i, wandb.Image(image, classes=CLASSES, boxes=boxes("predictions", scores={"conf": 0.9})))
evaluation = wandb.Artifact("run_run1_predictions", "evaluation")
evaluation.add(result, "result")
run.log_artifact(evaluation, aliases=["epoch-3"])
train(run, range(model.metadata["epoch"] + 1, 5))
run.finish()
"""

OFFLINE = """
run = wandb.init(project="demo", id="run2", config={"lr": 0.1}, mode="offline")
upload_data(run)
run.log({"debug": [wandb.Image(np.zeros((8, 8, 3), np.uint8), boxes=boxes("predictions"))]})
train(run, range(2))
run.finish()
"""


@pytest.mark.slow
def test_lost_run_goes_on_elsewhere_and_an_offline_run_is_synced(wandb_server, machine):
    store = wandb_server.store
    first = machine("a")
    first.start_python(COMMON + UNTIL_KILLED)

    def all_there(store):
        run = store.run_at("team/demo/run1")
        return len(run.history_rows) == 3 and store.artifact_at("team/demo/run_run1_model:epoch-2")

    wandb_server.wait_until(all_there, timeout=300)
    first.power_off()
    run = store.run_at("team/demo/run1")
    assert run.state == "running"

    before = len(store.uploaded)
    assert "resuming after weights of epoch 2" in machine("b").python(COMMON + RESUMED)
    assert (run.state, run.exitcode) == ("finished", 0)
    assert [row["epoch"] for row in run.history_rows] == [0, 1, 2, 3, 4]
    assert [row["_step"] for row in run.history_rows] == [0, 1, 2, 3, 4]
    assert {artifact.name for artifact in run.used} == {"run_run1_model:v2", "coco3:v0"}
    assert store.artifact_at("team/demo/run_run1_model:last").read_file("last.ckpt") == b"weights of epoch 4"
    predictions = store.artifact_at("team/demo/run_run1_predictions:epoch-3").entries
    images = [entry for name, entry in predictions.items() if name.endswith(".png")]
    assert len(images) == 3
    assert all(entry["ref"].startswith("wandb-artifact://") for entry in images)
    assert not any(name.endswith(".png") for name in store.uploaded[before:])

    third = machine("c")
    third.python(COMMON + OFFLINE)
    (run_directory,) = (third.home / "wandb").glob("offline-run-*")
    log = RunLog(run_directory)
    assert log.finished
    assert log.config == {"lr": 0.1}
    assert log.boxes(log.logged("debug")[0])[0]["predictions"][0]["class_id"] == 1
    assert [artifact.name for artifact in log.artifacts] == ["coco3", "run_run2_model", "run_run2_model"]
    assert "data/images/val/0.png" in artifact_files(log.artifacts[0])
    assert log.missing_files() == []
    third.run(Path(sys.executable).with_name("wandb"), "sync", run_directory)
    synced = store.run_at("team/demo/run2")
    assert [row["metrics/mAP"] for row in synced.history_rows if "epoch" in row] == [0, 0.1]
    assert store.artifact_at("team/demo/coco3:v0") in synced.logged  # same content, same version
