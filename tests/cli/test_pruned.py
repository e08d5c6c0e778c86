"""Training, validating and using a pruned network from the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.runs import CLASS_NAMES, check_run, figures, load, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.models import PAFPN, CSPDarknet, PrunedDetector, detector_from_weights, save_weights

# Half of the stem of an eighth of the width, and of a stage of the backbone.
CHANNELS: dict[str, list[int | None]] = {
    "backbone.stages.1.0.conv": [None, 16],
    "backbone.stages.1.0.bn": [16],
    "backbone.stages.1.1.cv1.conv": [16, None],
    "backbone.stages.1.1.cv2.conv": [16, None],
}


def write_pruned(path: Path, width: float = 0.125) -> Path:
    torch.manual_seed(0)
    parts = partial(CSPDarknet, 0.33, width), partial(PAFPN, depth_multiple=0.33)
    save_weights(PrunedDetector(len(CLASS_NAMES), *parts, channels=CHANNELS), path, CLASS_NAMES)
    return path


def write_config(path: Path, detector: dict[str, Any] | None, **trainer: Any) -> Path:
    config = tiny_config(path.parent / "data.yaml", max_epochs=1, **trainer)
    given = config["model"]["init_args"]
    given["detector"] = detector if detector is not None else given["detector"]
    path.write_text(yaml.safe_dump(config))
    return path


def trained(run: str) -> dict[str, Any]:
    content: dict[str, Any] = load(Path(run) / "checkpoints/best.ckpt")["hyper_parameters"]["detector"]
    return content


@pytest.mark.slow
def test_from_pruning_to_use(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning", reason="needs torch-pruning, of the extra `prune`")
    write_shapes(tmp_path)
    config = write_config(tmp_path / "tiny.yaml", None)
    run = partial(check_run, cwd=tmp_path)
    assert main(["fit", "--config", str(config)]) == 0
    run("prune", "runs/fit/checkpoints/best.ckpt", "--flops=0.2", "--image-size=64", "--output=small.safetensors")
    (small, _), full = detector_from_weights(tmp_path / "small.safetensors"), "runs/fit/checkpoints/best.safetensors"
    assert isinstance(small, PrunedDetector)
    assert (tmp_path / "small.safetensors").stat().st_size < (tmp_path / full).stat().st_size
    tuned = run("fit", "--config", config, "--model.weights", "small.safetensors", "--name=tuned")
    assert "model.weights are of a pruned network" in tuned.stdout + tuned.stderr
    assert "skipped 0" in tuned.stdout + tuned.stderr
    description = trained("runs/tuned")
    assert description["class_path"] == "yolo_lightning.models.PrunedDetector"
    assert description["init_args"]["channels"] == small.channels
    best, _ = detector_from_weights(tmp_path / "runs/tuned/checkpoints/best.safetensors")
    before, after = small.state_dict(), best.state_dict()
    assert {name: x.shape for name, x in before.items()} == {name: x.shape for name, x in after.items()}
    assert not torch.equal(before["head.m.0.weight"], after["head.m.0.weight"])
    # The files and the configuration of the run are as those of any other.
    for command in (
        f"validate --config {config} --ckpt_path runs/tuned/checkpoints/best.ckpt",
        f"fit --config {config} --ckpt_path runs/tuned/checkpoints/last.ckpt --trainer.max_epochs 2",
        "fit --config runs/tuned/config.yaml --name again",
        "detect runs/tuned/checkpoints/best.safetensors images/val --image-size 64 --device cpu",
    ):
        assert main(command.split()) == 0, command
    fitness = [figures(tmp_path / "runs" / name)["val/fitness"] for name in ("validate", "tuned")]
    assert fitness[0] == pytest.approx(fitness[1], abs=1e-6)
    assert trained("runs/again") == description


@pytest.mark.slow
def test_its_network_takes_the_place_of_the_default(tmp_path: Path) -> None:
    weights = write_pruned(tmp_path / "pruned.safetensors")
    write_shapes(tmp_path, train=2, val=1)
    config = write_config(tmp_path / "default.yaml", {"class_path": "yolo_lightning.Detector"})
    assert main(["fit", "--config", str(config), "--model.weights", str(weights)]) == 0
    assert trained("runs/fit")["init_args"]["channels"] == CHANNELS
    # Of validation, too, and with other data, whose classes are others.
    assert main(["validate", "--config", str(config), "--model.weights", str(weights)]) == 0
    write_shapes(tmp_path, train=2, val=1, names=[*CLASS_NAMES, "another"])
    assert main(["fit", "--config", str(config), "--model.weights", str(weights), "--name=other"]) == 0
    assert trained("runs/other")["init_args"]["channels"] == CHANNELS
    assert load(Path("runs/other/checkpoints/best.ckpt"))["state_dict"]["detector.head.m.0.bias"].shape == (33,)


def test_another_network_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write_pruned(tmp_path / "pruned.safetensors", width=0.25)
    write_shapes(tmp_path, train=2, val=1)
    config = write_config(tmp_path / "tiny.yaml", None)  # an eighth of the width
    assert main(["fit", "--config", str(config), "--model.weights", str(weights)]) == 1
    assert "pruned.safetensors holds a pruned network, of other widths than this one" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_weights_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shapes(tmp_path, train=2, val=1)
    config = write_config(tmp_path / "tiny.yaml", None)
    assert main(["fit", "--config", str(config), "--model.weights", "missing.ckpt"]) == 1
    assert "missing.ckpt" in capsys.readouterr().err
