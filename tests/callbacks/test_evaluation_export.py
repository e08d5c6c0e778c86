"""Label files stay in the run directory, whatever the images are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.metrics.test_stored import make_evaluation
from yolo_lightning.callbacks.evaluation_export import export_detections


@pytest.mark.parametrize("other", ["../data/up.png", "ABSOLUTE/root.png"])
def test_nothing_is_written_beside_the_images(other: str, tmp_path: Path):
    (tmp_path / "data").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    evaluation = make_evaluation(4)
    images = [f"images/{index}.png" for index in range(4)]
    images[1] = other.replace("ABSOLUTE", str(tmp_path / "data"))
    export_detections(replace(evaluation, images=tuple(images)), run, ["txt", "coco"])
    files = list(tmp_path.rglob("*.txt"))
    assert len(files) == 3, "those of the images with detections"
    assert all((run / "labels") in path.parents for path in files)
    assert sum(len(path.read_text().splitlines()) for path in files) == len(evaluation.data.scores)


def test_no_images(tmp_path: Path):
    export_detections(make_evaluation(0), tmp_path, ["coco", "csv", "txt"])
    assert (tmp_path / "predictions.json").read_text() == "[]\n"
