"""``yolo-lightning plot`` as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.plots.test_run import names, write_run
from yolo_lightning.cli import main
from yolo_lightning.metrics import EVALUATION_FILE, StoredEvaluation, evaluate
from yolo_lightning.plots.run import PICTURES

NUMBERS = {"figures.json", "classes.csv", "confusion_matrix.csv", "precision_recall_curve.csv", "precision_curve.csv"}
NUMBERS |= {"recall_curve.csv", "f1_curve.csv"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    images = write_run(tmp_path / "runs" / "fit") / "images"
    images.mkdir()
    (images / "mine.png").write_bytes(b"mine")
    (images / "results.png").write_bytes(b"old")
    before = names(tmp_path / "runs" / "fit")
    assert main(["plot", "runs/fit"]) == 0
    assert names(images) == {*PICTURES, "mine.png"}
    assert (images / "mine.png").read_bytes() == b"mine"
    assert (images / "results.png").read_bytes().startswith(b"\x89PNG")
    assert names(tmp_path / "runs" / "fit") == before
    assert capsys.readouterr().out == f"10 pictures in {Path('runs/fit/images')}\n"


def test_numbers(tmp_path: Path):
    write_run(tmp_path / "fit")
    (tmp_path / "out").mkdir()
    assert main(["plot", "fit", "--output", "out", "--csv"]) == 0
    assert not names(tmp_path / "out")  # an older directory is left alone
    out = tmp_path / "out-2"
    assert names(out) == {*PICTURES, *NUMBERS}
    assert not (tmp_path / "fit" / "images").exists()
    stored = StoredEvaluation.load(tmp_path / "fit")
    results = evaluate(stored.data)
    figures = json.loads((out / "figures.json").read_text())
    assert (figures["split"], figures["epoch"], figures["classes"]) == ("val", 3, 3)
    assert figures["yolov5_map_50"] == results["yolov5_map_50"]
    matrix = table(out / "confusion_matrix.csv")
    assert matrix[0][1:] == [*stored.class_names, "background"] == [row[0] for row in matrix[1:]]
    assert [[int(cell) for cell in row[1:]] for row in matrix[1:]] == results["confusion_matrix"].tolist()
    curve = table(out / "f1_curve.csv")
    assert curve[0] == ["confidence", "all classes", *stored.class_names]
    assert len(curve) == 1001
    assert [float(cell) for cell in curve[500][2:]] == results["f1_curve"][:, 499].tolist()
    classes = table(out / "classes.csv")
    assert [row[0] for row in classes[1:]] == list(stored.class_names)
    assert [int(row[2]) for row in classes[1:]] == results["num_instances_per_class"].tolist()


def test_several_runs(tmp_path: Path):
    write_run(tmp_path / "a" / "fit")
    write_run(tmp_path / "b" / "fit", num_classes=5)
    assert main(["plot", "a/fit", "b/fit", "--csv"]) == 0
    assert main(["plot", "a/fit", "b/fit"]) == 0
    pictures = {
        "results.png",
        "learning_rate.png",
        "precision_recall_curve.png",
        "precision_curve.png",
        "recall_curve.png",
    }
    pictures |= {"f1_curve.png"}
    assert names(tmp_path / "runs" / "plot-2") == pictures
    assert names(tmp_path / "runs" / "plot") == {*pictures, "comparison.csv", "a_fit", "b_fit"}
    assert names(tmp_path / "runs" / "plot" / "a_fit") == NUMBERS
    rows = table(tmp_path / "runs" / "plot" / "comparison.csv")
    assert [row[0] for row in rows] == ["run", str(Path("a/fit")), str(Path("b/fit"))]
    assert names(tmp_path / "a" / "fit") == {"metrics.csv", "evaluation.npz", "labels.npz"}


def test_half_a_run_gives_what_there_is_and_says_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = write_run(tmp_path / "fit")
    (run / EVALUATION_FILE).unlink()
    (run / "labels.npz").write_bytes(b"PK")
    assert main(["plot", "fit"]) == 0
    output = capsys.readouterr().out
    assert names(run / "images") == {"results.png", "learning_rate.png"}
    assert "confusion_matrix.png, confusion_matrix_normalised.png: fit/evaluation.npz does not exist" in output
    assert "labels.png, labels_correlogram.png: fit/labels.npz is damaged" in output


def test_nothing_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit-2").mkdir()
    for arguments in (["fit"], ["fit", "--output=out"], ["fit", "fit-2"]):
        assert main(["plot", *arguments]) == 1
        assert "nothing could be drawn" in capsys.readouterr().out
    assert names(tmp_path) <= {"fit", "fit-2", "runs"}
    assert not names(tmp_path / "fit")


def test_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()
    for run in ("nothing", "file"):
        assert main(["plot", run]) == 1
        assert f"error: {run} is no run directory" in capsys.readouterr().err
    run = write_run(tmp_path / "fit")
    (run / "images").touch()
    assert main(["plot", "fit"]) == 1
    assert "choose another directory with --output" in capsys.readouterr().err
