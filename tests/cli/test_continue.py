"""``--ckpt_path`` by name, and a run that is made longer."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from tests.runs import figures, load
from yolo_lightning.cli import main
from yolo_lightning.cli.resume import check_not_finished, resolve_checkpoint
from yolo_lightning.errors import InputError


def make_run(runs: Path, name: str, age: float, *kinds: str) -> Path:
    for kind in kinds:
        file = runs / name / "checkpoints" / f"{kind}.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    return runs / name


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    make_run(folder, "fit", 30, "last", "best")
    make_run(folder, "fit-2", 10, "last", "best")
    make_run(folder, "fit-3", 20, "last")
    make_run(folder, "fitting", 5, "best")
    make_run(folder, "fit-4", 0)  # has not finished an epoch
    (folder / "fit-4").mkdir()
    return folder


@pytest.mark.parametrize(
    ("given", "name", "command", "expected"),
    [
        ("last", None, "fit", "fit-2/checkpoints/last.ckpt"),
        ("last", "fit", "fit", "fit-2/checkpoints/last.ckpt"),
        ("last", "fit-3", "fit", "fit-3/checkpoints/last.ckpt"),
        ("last", None, "validate", "fit-2/checkpoints/last.ckpt"),
        ("best", None, "validate", "fitting/checkpoints/best.ckpt"),
        ("best", "fit", "test", "fit-2/checkpoints/best.ckpt"),
        ("runs/fit", None, "fit", "fit/checkpoints/last.ckpt"),
        ("runs/fit", "other", "validate", "fit/checkpoints/best.ckpt"),
        ("runs/fit", None, "test", "fit/checkpoints/best.ckpt"),
        ("runs/fit/checkpoints/best.ckpt", None, "fit", "fit/checkpoints/best.ckpt"),
    ],
)
def test_which_file(given: str, name: str | None, command: str, expected: str, runs: Path):
    assert resolve_checkpoint(given, Path("runs"), name, command) == Path("runs") / expected


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ("last", "other", r"--ckpt_path last: there is no runs/other\[-2, -3 …\]/checkpoints/last\.ckpt.*--name"),
        ("last", "f.t", "there is no"),
        ("runs/fit-4", None, r"runs/fit-4 is no run directory with a checkpoints/last\.ckpt"),
    ],
)
def test_no_such_run(given: str, name: str | None, message: str, runs: Path):
    with pytest.raises(InputError, match=message):
        resolve_checkpoint(given, Path("runs"), name, "fit")


def test_without_any_run(tmp_path: Path):
    with pytest.raises(InputError, match=r"there is no runs/\*/checkpoints/last\.ckpt"):
        resolve_checkpoint("last", Path("runs"), None, "fit")


@pytest.mark.parametrize(
    ("epoch", "whole", "max_epochs", "finished"),
    [(0, True, 1, True), (0, False, 1, False), (1, True, 4, False), (4, True, 3, True), (9, True, -1, False)],
)
def test_finished(epoch: int, whole: bool, max_epochs: int, finished: bool):
    progress = {"fit_loop": {"epoch_loop.batch_progress": {"is_last_batch": whole}}}
    checkpoint = {"epoch": epoch, "loops": progress}
    if not finished:
        check_not_finished(checkpoint, Path("last.ckpt"), max_epochs)
        return
    with pytest.raises(InputError, match=rf"last\.ckpt has {epoch + 1} epochs .* larger --trainer\.max_epochs"):
        check_not_finished(checkpoint, Path("last.ckpt"), max_epochs)


@pytest.mark.slow
def test_a_run_is_made_longer(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two epochs, then two more of a schedule of four."""
    runs = tmp_path / "runs"
    assert main(["fit", f"--config={config}", "--trainer.max_epochs=2", "--name=shapes"]) == 0
    first = load(runs / "shapes" / "checkpoints" / "last.ckpt")
    assert first["max_epochs"] == 2

    again = ["fit", f"--config={config}", "--name=shapes", "--ckpt_path=last"]
    assert main([*again, "--trainer.max_epochs=2"]) == 1
    error = capsys.readouterr().err
    assert "has 2 epochs behind it and --trainer.max_epochs is 2" in error
    assert {path.name for path in runs.iterdir()} == {"shapes"}

    assert main([*again, "--trainer.max_epochs=4"]) == 0
    output = capsys.readouterr().err
    assert "Checkpoint: runs/shapes/checkpoints/last.ckpt (of a run with --config runs/shapes/config.yaml)" in output
    # 0.01 + 0.99 · (1 − epoch / max_epochs), at the epoch 2 of 2 and of 4
    assert "max_epochs is 4 instead of 2: from epoch 2" in output
    assert re.search(r"goes on at 0\.505 of the initial rate instead of 0\.01\n", output)
    second = runs / "shapes-2"
    with (second / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["lr/weight"]) for row in rows[2:]] == pytest.approx([0.01 * 0.505, 0.01 * 0.2575])
    last = load(second / "checkpoints" / "last.ckpt")
    assert (last["epoch"], last["max_epochs"]) == (3, 4)
    assert last["global_step"] == 2 * first["global_step"]
    # nothing to say about a schedule that is as it was
    assert "instead of" not in output.split("Restored all states")[0]


def test_evaluation_by_the_directory_of_a_run(config: Path, tmp_path: Path):
    assert main(["fit", f"--config={config}", "--trainer.max_epochs=2"]) == 0
    assert main(["validate", f"--config={config}", "--ckpt_path=runs/fit"]) == 0
    measured, best = figures(tmp_path / "runs" / "validate"), figures(tmp_path / "runs" / "fit")
    assert measured.items() <= best.items()


def test_weights_of_a_run_start_another(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fit", f"--config={config}", "--trainer.max_epochs=1", "--name=first"]) == 0
    weights = tmp_path / "runs" / "first" / "checkpoints" / "best.safetensors"
    assert main(["fit", f"--config={config}", "--trainer.max_epochs=1", f"--model.weights={weights}"]) == 0
    assert "skipped 0" in capsys.readouterr().err


def test_a_start_that_fails_takes_no_directory(config: Path, tmp_path: Path):
    """The Trainer refuses the limit after the directory was made."""
    (tmp_path / "runs" / "fit").mkdir(parents=True)
    arguments = ["fit", f"--config={config}", "--trainer.max_epochs=1"]
    assert main([*arguments, "--trainer.limit_train_batches=-3"]) == 1
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"fit"}
    assert main(arguments) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"fit", "fit-2"}


def test_the_directory_of_another_run_stays(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the environment of this process names may be of an earlier run in it."""
    earlier = tmp_path / "runs" / "earlier"
    earlier.mkdir(parents=True)
    monkeypatch.setenv("YOLO_LIGHTNING_RUN_DIRECTORY", str(earlier))
    assert main(["fit", f"--config={config}", "--ckpt_path=none.ckpt"]) == 1
    assert earlier.is_dir()
