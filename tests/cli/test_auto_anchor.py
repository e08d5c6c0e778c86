"""Anchors that do not suit the data, in a run of the command line: replaced, and the same ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.runs import check_run, load, tiny_config
from yolo_lightning.cli import main
from yolo_lightning.models import build_detector, detector_from_weights

HUGE = [[300, 300, 400, 300, 500, 400]] * 3
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
KEYS = ("model", "init_args", "detector", "init_args", "head", "init_args", "anchors")


def misfit_config(shapes: Path, folder: Path) -> Path:
    config = tiny_config(shapes, max_epochs=2)
    config["model"]["init_args"]["detector"]["init_args"]["head"] = {"init_args": {"anchors": HUGE}}
    config["auto_anchor"] = {"generations": 100}
    file = folder / "misfit.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(scope="module")
def first(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Directory of a run, and what it printed."""
    folder = tmp_path_factory.mktemp("anchors")
    misfit_config(shapes, folder)
    process = check_run("fit", "--config=misfit.yaml", cwd=folder)
    return folder / "runs" / "fit", process.stdout + process.stderr


def configured_anchors(directory: Path) -> Any:
    value = yaml.safe_load((directory / "config.yaml").read_text())
    for key in KEYS:
        value = value[key]
    return value


def anchors_of(directory: Path, name: str = "best.ckpt") -> torch.Tensor:
    state = load(directory / "checkpoints" / name)["state_dict"]
    anchors: torch.Tensor = state["detector.head.anchors"]
    return anchors


def test_everything_has_the_new_anchors(first: tuple[Path, str]):
    directory, output = first
    anchors = anchors_of(directory)
    assert 5 < anchors.min() < anchors.max() < 64
    assert "AutoAnchor: the anchors suit too few of the 40 boxes (best possible recall 0.0000" in output
    for stride, level in zip((8, 16, 32), anchors.tolist(), strict=True):
        printed = ", ".join(f"{width:g}×{height:g}" for width, height in level)
        assert f"stride {stride}: 300×300, 400×300, 500×400 → {printed}" in output
    for name in ("best.ckpt", "last.ckpt"):
        content = load(directory / "checkpoints" / name)
        averaged, raw = content["state_dict"], content["current_model_state"]
        assert torch.equal(averaged["detector.head.anchors"], anchors)
        assert torch.equal(raw["detector.head.anchors"], anchors)
        described = build_detector(content["hyper_parameters"]["detector"], 5)
        assert torch.equal(described.head.anchors, anchors)
    detector, _ = detector_from_weights(directory / "checkpoints" / "best.ckpt")
    assert torch.equal(detector.head.anchors, anchors)
    assert torch.equal(torch.tensor(configured_anchors(directory)), anchors.flatten(1))


def test_the_saved_configuration_keeps_them(
    first: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Also when weights of another network, with anchors of its own, are the start."""
    directory, _ = first
    assert main(["fit", f"--config={directory}/config.yaml", "--trainer.max_epochs=1", "--name=again"]) == 0
    assert "AutoAnchor: the anchors suit the 40 boxes (best possible recall 1.0000" in capsys.readouterr().err
    again = tmp_path / "runs" / "again"
    assert configured_anchors(again) == configured_anchors(directory)
    assert torch.equal(anchors_of(again), anchors_of(directory))

    plain = tmp_path / "plain.ckpt"
    content = load(directory / "checkpoints" / "best.ckpt")
    content["state_dict"]["detector.head.anchors"] = torch.tensor(HUGE).float().view(3, 3, 2)
    torch.save(content, plain)
    options = ["--trainer.max_epochs=1", "--name=started", f"--model.weights={plain}"]
    assert main(["fit", f"--config={directory}/config.yaml", *options]) == 0
    assert torch.equal(anchors_of(tmp_path / "runs" / "started"), anchors_of(directory))


def test_anchors_of_a_file_of_weights_are_configured_too(
    first: tuple[Path, str], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    directory, _ = first
    weights = f"--model.weights={directory}/checkpoints/best.ckpt"
    assert main(["fit", f"--config={config}", weights, "--trainer.max_epochs=1"]) == 0
    assert "the anchors suit the 40 boxes" in capsys.readouterr().err
    assert configured_anchors(tmp_path / "runs" / "fit") == configured_anchors(directory)


def test_a_resumed_run_keeps_them(
    first: tuple[Path, str], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    directory, _ = first
    file = misfit_config(shapes, tmp_path)
    options = [f"--ckpt_path={directory}/checkpoints/last.ckpt", "--trainer.max_epochs=3"]
    assert main(["fit", f"--config={file}", *options]) == 0
    assert "AutoAnchor" not in capsys.readouterr().err
    resumed = tmp_path / "runs" / "fit"
    content = load(resumed / "checkpoints" / "last.ckpt")
    assert content["epoch"] == 2
    assert torch.equal(anchors_of(resumed, "last.ckpt"), anchors_of(directory))
    assert torch.equal(
        build_detector(content["hyper_parameters"]["detector"], 5).head.anchors, anchors_of(directory, "last.ckpt")
    )


def test_evaluation_has_them(first: tuple[Path, str], config: Path, tmp_path: Path):
    directory, _ = first
    best = directory / "checkpoints" / "best.ckpt"
    assert main(["validate", f"--config={config}", f"--ckpt_path={best}"]) == 0
    assert configured_anchors(tmp_path / "runs" / "validate") == configured_anchors(directory)


def test_it_can_be_turned_off(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = misfit_config(shapes, tmp_path)
    assert main(["fit", f"--config={file}", "--auto_anchor.enabled=false", "--trainer.max_epochs=1"]) == 0
    assert "AutoAnchor" not in capsys.readouterr().err
    assert configured_anchors(tmp_path / "runs" / "fit") == HUGE


def test_a_number_out_of_range(config: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fit", f"--config={config}", "--auto_anchor.min_recall=2"]) == 1
    assert "auto_anchor.min_recall must be in 0…1" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_find_the_same(first: tuple[Path, str], shapes: Path, tmp_path: Path):
    directory, _ = first
    misfit_config(shapes, tmp_path)
    dump = {"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.DumpState"}]}}
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump(dump))
    check_run("fit", "--config=misfit.yaml", "--config=dump.yaml", *TWO, cwd=tmp_path)
    expected = anchors_of(directory)
    runs = tmp_path / "runs" / "fit"
    assert torch.equal(anchors_of(runs), expected)
    assert configured_anchors(runs) == configured_anchors(directory)
    for rank in range(2):
        state = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert torch.equal(state["detector.head.anchors"], expected)
