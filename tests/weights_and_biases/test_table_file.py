"""The table that we write is the one that the client would write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs import environment
from tests.weights_and_biases.evaluations import SIZE, make_evaluation
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.weights_and_biases.boxes import label_boxes, prediction_boxes
from yolo_lightning.weights_and_biases.table_file import COLUMNS, MAX_CLASSES, TableRequest, write_table
from yolo_lightning.weights_and_biases.table_format import unique_columns

A, B = (8.0, 4.0, 40.0, 20.0), (-4.0, 10.0, 20.0, 44.0)  # the second reaches beyond the image
FOUND = [(0, 0, 0.75, *A), (1, 1, 0.5, *A), (1, 1, 0.25, *B)]
LABELS = [(0, 0, *A), (2, 2, *B)]
CLASSES = {"path": "media/classes/names.classes.json", "digest": "x"}


def write(stored: StoredEvaluation, folder: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table, and what writing it returned."""
    stored.save(folder / "evaluation.npz")
    names = [f"data/images/val/{Path(image).name}" for image in stored.images]
    values = {"epoch": 4, "names": names, "classes": CLASSES} | options
    request = TableRequest(str(folder / "evaluation.npz"), str(folder / "result.table.json"), **values)
    counts = write_table(request)
    return json.loads((folder / "result.table.json").read_text()), counts


def test_it_is_what_the_client_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All of it but for the digests of the pictures, which ours does not read."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    wandb = pytest.importorskip("wandb")

    class Referring(wandb.Artifact):
        """Takes the pictures for ones that it has."""

        def get_added_local_path_name(self, local_path: str) -> str:
            return f"data/images/val/{Path(local_path).name}"

    stored = make_evaluation(FOUND, LABELS)
    ours, counts = write(stored, tmp_path)
    names = dict(enumerate(stored.class_names))
    artifact = Referring("t", "evaluation")
    classes = wandb.Classes([{"id": label, "name": name} for label, name in names.items()])
    table = wandb.Table(columns=[*COLUMNS, *stored.class_names])
    rows = {
        1: [0, 2, 0.0, 0, 0.375, 0],
        2: [1, 0, 0.0, 0, 0, 0],
        0: [0, 0, 1.0, 0.75, 0, 0],
    }
    for image, values in rows.items():
        file = tmp_path / f"{image}.png"
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(file)
        scale = 1 / np.array([SIZE[1], SIZE[0]])
        data = stored.data
        found, labels = (np.flatnonzero(index == image) for index in (data.image_index, data.target_image_index))
        boxes = {
            "predictions": prediction_boxes(stored.data, found, stored.class_names, scale, np.zeros(2)),
            "ground_truth": label_boxes(stored.data, labels, stored.class_names, scale, np.zeros(2)),
        }
        groups = {group: {"box_data": shown, "class_labels": names} for group, shown in boxes.items()}
        table.add_data(4, 10 + image, file.name, wandb.Image(str(file), boxes=groups, classes=classes), *values)
    artifact.add(table, "result")
    theirs = json.loads(Path(artifact.manifest.entries["result.table.json"].local_path).read_text())
    assert _without_digests(ours) == _without_digests(theirs)
    assert counts == {"images": 3, "missed": 1, "false": 2, "class_columns": "3 of 3, the most frequent"}


def _without_digests(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {name: _without_digests(item) for name, item in value.items() if name not in ("sha256", "digest")}
        return {**kept, "path": "classes"} if kept.get("type") == "classes-file" else kept
    return [_without_digests(item) for item in value] if isinstance(value, list) else value


def test_boxes_are_clipped_fractions_with_scores_and_captions(tmp_path: Path):
    table, _ = write(make_evaluation(FOUND, LABELS), tmp_path)
    column = table["columns"].index("image")
    boxes = table["data"][0][column]["boxes"]
    assert boxes["predictions"] == [
        {
            "position": {"minX": 0.1, "minY": 0.1, "maxX": 0.5, "maxY": 0.5},
            "class_id": 1,
            "scores": {"conf": 0.5},
            "box_caption": "dog 0.500",
        },
        {
            "position": {"minX": 0.0, "minY": 0.25, "maxX": 0.25, "maxY": 1.0},
            "class_id": 1,
            "scores": {"conf": 0.25},
            "box_caption": "dog 0.250",
        },
    ]
    assert boxes["ground_truth"] == []
    (label,) = table["data"][1][column]["boxes"]["ground_truth"]
    assert (label["class_id"], label["box_caption"]) == (2, "cow")
    assert "scores" not in label


def test_an_image_that_the_artifact_lacks_has_a_row_without_a_picture(tmp_path: Path):
    table, _ = write(make_evaluation(FOUND, LABELS), tmp_path, names=[None, "b.png", None], epoch=None)
    assert [(row[0], row[1], row[3] and row[3]["path"]) for row in table["data"]] == [
        (None, 11, "b.png"),
        (None, 12, None),
        (None, 10, None),
    ]


def test_one_image_without_anything(tmp_path: Path):
    table, counts = write(make_evaluation([], [], num_images=1), tmp_path)
    ((*first, picture, missed, false, f1, cat, dog, cow),) = table["data"]
    assert first == [4, 10, "0.png"]
    assert picture["boxes"] == {"predictions": [], "ground_truth": []}
    assert (missed, false, f1, cat, dog, cow) == (0, 0, 1.0, 0, 0, 0)
    assert counts["images"] == 1


def test_of_many_classes_only_the_most_frequent_have_a_column(tmp_path: Path):
    names = [f"c{label}" for label in range(MAX_CLASSES + 50)]
    found = [(0, MAX_CLASSES + 20, 0.5, *A), (0, MAX_CLASSES + 20, 0.4, *B)]
    table, counts = write(make_evaluation(found, [(1, MAX_CLASSES + 40, *A)], class_names=names), tmp_path)
    columns = table["columns"][len(COLUMNS) :]
    assert len(columns) == MAX_CLASSES
    assert columns[-2:] == [f"c{MAX_CLASSES + 20}", f"c{MAX_CLASSES + 40}"]
    row = next(row for row in table["data"] if row[1] == 10)
    assert row[table["columns"].index(f"c{MAX_CLASSES + 20}")] == 0.45
    assert counts["class_columns"] == "100 of 150, the most frequent"


def test_names_of_columns_are_unique():
    names = {0: "name", 1: 'a "b"\n', 2: "cat", 3: "cat", 7: " "}
    assert unique_columns(COLUMNS, names) == [
        "name (class 0)",
        'a "b"\n',
        "cat (class 2)",
        "cat (class 3)",
        "(class 7)",
    ]


def test_the_module_writes_it_without_torch_and_wandb(tmp_path: Path):
    stored = make_evaluation(FOUND, LABELS, class_names=("chat é", '犬 "x"', "<b>"))
    _, counts = write(stored, tmp_path)
    names = [f"data/images/val/{index}.png" for index in range(3)]
    request = TableRequest(str(tmp_path / "evaluation.npz"), str(tmp_path / "other"), 4, names, CLASSES)
    code = (
        "import sys; from yolo_lightning.weights_and_biases.table_file import main; main(); "
        "assert not {'torch', 'wandb', 'lightning', 'cv2'} & set(sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asdict(request)),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == counts
    assert (tmp_path / "other").read_text() == (tmp_path / "result.table.json").read_text()
