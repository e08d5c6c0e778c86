"""The pictures of a run directory, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.metrics.test_stored import make_evaluation
from tests.plots.test_labels import make_statistics
from yolo_lightning.metrics import EVALUATION_FILE
from yolo_lightning.plots import run as plots_run
from yolo_lightning.plots.label_statistics import LABELS_FILE
from yolo_lightning.plots.run import EVALUATION_PICTURES, PICTURES, Run, compare_runs, draw_run

HISTORY = "step,epoch,train/loss,val/loss,val/map,lr/all\n1,0,2,2,0.1,0.01\n2,1,1,1.5,0.2,0.005\n"


def write_run(directory: Path, num_classes: int = 3, num_images: int = 6) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.csv").write_text(HISTORY)
    make_evaluation(num_images, num_classes=num_classes).save(directory / EVALUATION_FILE)
    make_statistics(num_classes).save(directory / LABELS_FILE)
    return directory


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def quick_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made but not painted: ``test_all`` paints each."""
    monkeypatch.setattr(plots_run, "save_figure", lambda figure, path: path.write_text(repr(figure)))


@pytest.mark.parametrize(("num_classes", "num_images"), [(1, 1), (3, 6), pytest.param(80, 40, marks=pytest.mark.slow)])
def test_all(num_classes: int, num_images: int, tmp_path: Path):
    drawn = draw_run(Run.read(write_run(tmp_path / "fit", num_classes, num_images)), tmp_path / "out")
    assert (drawn.notes, drawn.failures) == ([], [])
    assert [file.name for file in drawn.files] == list(PICTURES)
    assert names(tmp_path / "out") == set(PICTURES)


@pytest.mark.parametrize(
    ("file", "pictures"),
    [
        ("metrics.csv", {"results.png", "learning_rate.png"}),
        (EVALUATION_FILE, set(EVALUATION_PICTURES)),
        (LABELS_FILE, {"labels.png", "labels_correlogram.png"}),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"\x00nothing of the kind"])
@pytest.mark.usefixtures("quick_files")
def test_a_file_that_is_missing_or_damaged(file: str, pictures: set[str], content: bytes | None, tmp_path: Path):
    directory = write_run(tmp_path / "fit")
    (directory / file).unlink() if content is None else (directory / file).write_bytes(content)
    run = Run.read(directory)
    drawn = draw_run(run, tmp_path / "out")
    assert names(tmp_path / "out") == set(PICTURES) - pictures
    (note,) = drawn.notes
    assert all(name in note for name in pictures)
    assert file in note
    with_words = draw_run(run, tmp_path / "words", placeholders=True)
    assert names(tmp_path / "words") == set(PICTURES)
    assert with_words.failures == []


@pytest.mark.usefixtures("quick_files")
def test_a_file_that_is_cut_off_gives_the_rest(tmp_path: Path):
    directory = write_run(tmp_path / "fit")
    (directory / "metrics.csv").write_text(HISTORY[:-3])
    drawn = draw_run(Run.read(directory), tmp_path / "out")
    assert names(tmp_path / "out") == set(PICTURES)
    assert [note.split(" of ")[0] for note in drawn.notes] == ["1 rows"]


def test_nothing_there_makes_no_directory(tmp_path: Path):
    drawn = draw_run(Run.read(tmp_path), tmp_path / "out")
    assert (drawn.files, len(drawn.notes)) == ([], 3)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick_files")
def test_a_picture_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(plots_run, "draw_results", fail)
    drawn = draw_run(Run.read(write_run(tmp_path / "fit")), tmp_path / "out")
    assert names(tmp_path / "out") == set(PICTURES) - {"results.png"}
    assert len(drawn.failures) == 1
    assert "no ink" in drawn.failures[0]


def test_comparison(tmp_path: Path):
    runs = [Run.read(write_run(tmp_path / name, num_classes)) for name, num_classes in (("a", 3), ("b", 7))]
    runs.append(Run.read(tmp_path, "empty"))
    (tmp_path / "out").mkdir()
    drawn = compare_runs(runs, tmp_path / "out")
    assert names(tmp_path / "out") == {
        "results.png",
        "learning_rate.png",
        "precision_recall_curve.png",
        "precision_curve.png",
        "recall_curve.png",
        "f1_curve.png",
    }
    assert drawn.failures == []
    assert len(drawn.notes) == 2
    assert all("without empty" in note for note in drawn.notes)


def test_what_is_read_is_what_was_written(tmp_path: Path):
    run = Run.read(write_run(tmp_path / "fit"))
    assert run.name == "fit"
    assert run.history is not None
    assert run.results is not None
    assert run.labels is not None
    assert run.history.columns["val/map"].tolist() == [0.1, 0.2]
    assert np.isfinite(run.results["yolov5_map_50"])
    assert run.labels.num_boxes > 0
