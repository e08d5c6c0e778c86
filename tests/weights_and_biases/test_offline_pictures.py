"""An offline run, read back: boxes and tables are those of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import IMAGE_SIZE, check_run, tiny_config, write_shapes
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.metrics.image_errors import confident, image_errors
from yolo_lightning.weights_and_biases.artifact_files import artifact_files
from yolo_lightning.weights_and_biases.run_log import RunLog

pytestmark = pytest.mark.slow

NUM_IMAGES, NUM_EPOCHS, THRESHOLD = 20, 2, 0.001
PANEL = "BoundingBoxDebugger"
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, RunLog]]:
    """``runs(name, command, *options)`` makes a run, once, and returns its directory and what it recorded."""
    folder = tmp_path_factory.mktemp("offline")
    data = write_shapes(folder / "shapes", val=NUM_IMAGES)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(data, max_epochs=NUM_EPOCHS)))
    logging: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "logger" / "wandb.yaml").read_text())
    low = {"confidence_threshold": THRESHOLD}  # the network learns next to nothing
    logging["trainer"]["callbacks+"] = [
        {"class_path": f"yolo_lightning.weights_and_biases.{name}", "init_args": low}
        for name in ("BoundingBoxDebugger", "EvaluationTable")
    ]
    (folder / "wandb.yaml").write_text(yaml.safe_dump(logging))
    images = {"class_path": "tests.weights_and_biases.callbacks.ImagesAtWandb", "init_args": {"root": str(data.parent)}}
    (folder / "images.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [images]}}))
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "HOME": str(folder)}

    def run(name: str, command: str, *options: str) -> tuple[Path, RunLog]:
        directory = folder / "runs" / name
        if not directory.exists():
            configs = ["--config=tiny.yaml", "--config=wandb.yaml"]
            process = check_run(command, *configs, f"--name={name}", *options, cwd=folder, **offline)
            (directory / "output.txt").write_text(process.stdout + process.stderr)
        return directory, RunLog(next(directory.glob("wandb/offline-run-*")))

    return run


WITH_IMAGES = "--config=images.yaml"


@pytest.fixture(scope="module")
def trained(runs: Callable[..., tuple[Path, RunLog]]) -> tuple[Path, RunLog]:
    return runs("trained", "fit", WITH_IMAGES)


def evaluation(directory: Path) -> StoredEvaluation:
    return StoredEvaluation.load(directory)


def assert_boxes(shown: list[dict[str, Any]], boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None) -> None:
    """In pixels; images are squares of ``IMAGE_SIZE``, which the pictures show as they are."""
    sides = [[box["position"][side] for side in ("minX", "minY", "maxX", "maxY")] for box in shown]
    expected = boxes.clip(0, IMAGE_SIZE)
    assert np.allclose(np.array(sides).reshape(-1, 4) * IMAGE_SIZE, expected, atol=1e-3)
    assert [box["class_id"] for box in shown] == labels.tolist()
    if scores is not None:
        assert np.allclose([box["scores"]["conf"] for box in shown], scores, atol=1e-6)


def test_sixteen_images_are_shown_with_the_boxes_of_the_evaluation(trained: tuple[Path, RunLog]):
    directory, log = trained
    panels = {row["epoch"]: row[PANEL] for row in log.history if PANEL in row}
    assert sorted(panels) == list(range(NUM_EPOCHS))
    stored = evaluation(directory)
    panel = panels[stored.epoch]
    ids = np.linspace(0, NUM_IMAGES - 1, 16).round().astype(int)
    for each in panels.values():
        assert (each["count"], each["captions"]) == (16, [f"{index:03}.png" for index in ids])
        assert all(path.is_file() for path in log.images(each))
    assert sum(len(groups["predictions"]) for groups in log.boxes(panel)) > 0
    for index, groups in zip(ids, log.boxes(panel), strict=True):
        data = stored.data
        near = (data.image_index == index) & (data.scores >= THRESHOLD)
        rows = np.flatnonzero(near)[:100]
        assert_boxes(groups["predictions"], data.boxes[rows], data.labels[rows], data.scores[rows])
        own = data.target_image_index == index
        assert_boxes(groups["ground_truth"], data.target_boxes[own], data.target_labels[own], None)


def tables(log: RunLog) -> list[Any]:
    return [artifact for artifact in log.artifacts if artifact.type == "evaluation"]


def content(artifact: Any) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(artifact_files(artifact)["result.table.json"].local_path.read_text())  # type: ignore[union-attr]
    return table


def test_the_table_refers_to_the_images_and_begins_with_the_worst(trained: tuple[Path, RunLog]):
    directory, log = trained
    versions = tables(log)
    assert [artifact.name for artifact in versions] == [f"run_{log.run.run_id}_predictions"] * NUM_EPOCHS
    aliases = [set(artifact.aliases) for artifact in versions]
    assert [{"latest", "last", f"epoch-{epoch}"} <= found for epoch, found in enumerate(aliases)] == [True, True]
    stored = evaluation(directory)
    assert max(epoch for epoch, found in enumerate(aliases) if "best" in found) == stored.epoch
    artifact = versions[int(stored.epoch or 0)]
    assert json.loads(artifact.metadata)["epoch"] == stored.epoch

    (dataset,) = (each for each in log.artifacts if each.type == "dataset")
    table, files = content(artifact), artifact_files(artifact)
    assert {name for name, file in files.items() if file.ref is None} == {
        "result.table.json",
        "media/classes/names.classes.json",
    }
    errors = image_errors(confident(stored.data, THRESHOLD))
    assert [row[1] for row in table["data"]] == errors.worst_first().tolist()
    assert len(table["data"]) == NUM_IMAGES
    for row in table["data"]:
        picture = row[3]
        assert files[picture["path"]].ref == f"wandb-client-artifact://{dataset.client_id}/{picture['path']}"
        assert files[picture["path"]].digest == artifact_files(dataset)[picture["path"]].digest
        rows = np.flatnonzero((stored.data.image_index == row[1]) & (stored.data.scores >= THRESHOLD))
        shown = picture["boxes"]["predictions"]
        assert_boxes(shown, stored.data.boxes[rows], stored.data.labels[rows], stored.data.scores[rows])
        assert row[4:6] == [errors.missed[row[1]], errors.false[row[1]]]
    assert not log.missing_files()
    assert [cell["artifact_path"] for cell in log.logged("evaluation")] == [
        f"wandb-client-artifact://{version.client_id}/result.table.json" for version in versions
    ]


@pytest.mark.parametrize("name", ["one", "two"])
def test_another_run_and_two_processes_show_the_same(
    name: str, trained: tuple[Path, RunLog], runs: Callable[..., tuple[Path, RunLog]]
):
    checkpoint = f"--ckpt_path={trained[0] / 'checkpoints' / 'best.ckpt'}"
    directory, log = runs(name, "validate", WITH_IMAGES, checkpoint, *(TWO if name == "two" else []))
    epoch = evaluation(trained[0]).epoch
    before = next(row[PANEL] for row in trained[1].history if PANEL in row and row["epoch"] == epoch)
    (panel,) = log.logged(PANEL)
    assert panel["captions"] == before["captions"]
    assert log.boxes(panel) == trained[1].boxes(before)
    pictures = [
        [path.read_bytes() for path in each.images(shown)] for each, shown in ((log, panel), (trained[1], before))
    ]
    assert pictures[0] == pictures[1]
    (artifact,) = tables(log)
    assert set(artifact.aliases) == {"latest", "last"}
    rows = [row[1:] for row in content(artifact)["data"]]
    assert rows == [row[1:] for row in content(tables(trained[1])[int(epoch or 0)])["data"]]
    assert evaluation(directory).epoch is None


def test_without_images_at_wandb_there_is_no_table_and_one_line_says_why(runs: Callable[..., tuple[Path, RunLog]]):
    directory, log = runs("none", "fit", "--trainer.limit_train_batches=1")
    assert not tables(log)
    assert len(log.logged(PANEL)) == NUM_EPOCHS
    assert (directory / "output.txt").read_text().count("turn on upload_dataset") == 1
