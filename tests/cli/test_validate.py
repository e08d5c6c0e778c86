"""What ``validate`` and ``test`` can be about: another split, and all classes as one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from tests.runs import figures, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.metrics import StoredEvaluation


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``tiny.yaml``, ``best.ckpt`` and ``best.safetensors``."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(write_shapes(folder / "shapes", train=7, val=4), max_epochs=1)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "--config=tiny.yaml"]) == 0
    for name in ("best.ckpt", "best.safetensors"):
        (folder / "runs" / "fit" / "checkpoints" / name).rename(folder / name)
    return folder


def options(trained: Path, *more: str) -> list[str]:
    return [f"--config={trained}/tiny.yaml", f"--ckpt_path={trained}/best.ckpt", *more]


@pytest.mark.slow
def test_the_split_test_gives_the_figures_of_test(trained: Path):
    assert main(["test", *options(trained)]) == 0
    assert main(["validate", *options(trained, "--data.validate_split=test", "--name=other")]) == 0
    tested, validated = figures(Path("runs/test")), figures(Path("runs/other"))
    assert {name.replace("test/", "val/"): value for name, value in tested.items()} == validated
    assert StoredEvaluation.load(Path("runs/other")).split == "test"


def test_training_images_are_evaluated_as_they_are(trained: Path):
    assert main(["validate", *options(trained, "--data.validate_split=train")]) == 0
    stored = StoredEvaluation.load(Path("runs/validate"))
    assert stored.split == "train"
    assert len(stored.images) == 7
    assert {Path(path).parent.name for path in stored.images} == {"train"}
    assert (stored.image_sizes == 64).all()


def test_a_split_that_is_missing(trained: Path, capsys: pytest.CaptureFixture[str]):
    data = yaml.safe_load((trained / "shapes" / "data.yaml").read_text())
    del data["test"]
    Path("data.yaml").write_text(yaml.safe_dump({**data, "path": str(trained / "shapes")}))
    assert main(["validate", *options(trained, "--data.path=data.yaml", "--data.validate_split=test")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "data.yaml" in error
    assert "test" in error
    assert not Path("runs/validate").exists()


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["--ckpt_path=best.ckpt", "--model.weights=best.safetensors"])
@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_all_classes_as_one(trained: Path, command: str, split: str, weights: str, capsys: pytest.CaptureFixture[str]):
    name, _, file = weights.partition("=")
    given = [f"--config={trained}/tiny.yaml", f"{name}={trained / file}", "--data.single_class=true"]
    assert main([command, *given, "--evaluation_file.formats=[csv]"]) == 0
    run = Path("runs") / command
    measured = figures(run)
    assert not [name for name in measured if "loss" in name]
    stored = StoredEvaluation.load(run)
    assert stored.class_names == ("object",)
    assert set(stored.data.target_labels.tolist()) == {0}
    assert len(stored.data.labels)
    with (run / "predictions.csv").open(newline="") as rows:
        assert {row["name"] for row in csv.DictReader(rows)} == {"object"}
    assert (run / "images" / f"{split}_batch0.jpg").is_file()
    printed = "".join(capsys.readouterr())
    assert any(line.split()[:1] == ["object"] for line in printed.splitlines())


def test_a_network_of_several_classes_is_not_trained_as_one(trained: Path, capsys: pytest.CaptureFixture[str]):
    fit = ["fit", f"--config={trained}/tiny.yaml", "--data.single_class=true", "--model.class_names=[a,b]"]
    assert main(fit) == 1
    assert "network has 2 [a, b], which only validate and test take together" in capsys.readouterr().err


def test_no_thresholds_of_classes_that_are_one(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", *options(trained, "--data.single_class=true", "--operating_point.recall=0.5")]) == 1
    assert "data.single_class takes as one" in capsys.readouterr().err
    assert not list(trained.glob("*.operating_point.json"))
