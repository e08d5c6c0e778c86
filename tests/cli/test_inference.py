"""Test-time augmentation, slices and ensembles in ``validate``, ``test`` and ``predict``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.runs import CLASS_NAMES, IMAGE_SIZE, check_run, figures, load
from yolo_lightning.cli import main
from yolo_lightning.models import PAFPN, CSPDarknet, Detector
from yolo_lightning.module import DetectionModule

OPTIONS: dict[str, list[str]] = {
    "augmentation": ["--model.inference.augmentation=TestTimeAugmentation"],
    "scales": [
        "--model.inference.augmentation=TestTimeAugmentation",
        "--model.inference.augmentation.scales=[1,0.5]",
        "--model.inference.augmentation.flips=[none,vertical]",
    ],
    "slices": ["--model.inference.slices.size=32"],
    "slices by name": ["--model.inference.slices=Slices", "--model.inference.slices.size=[32,64]"],
    "ensemble": ["--model.ensemble=[FIRST,SECOND]"],
    "fusion": ["--model.ensemble=[SECOND]", "--model.inference.fusion=WeightedBoxesFusion"],
    "all": [
        "--model.ensemble=[SECOND]",
        "--model.inference.fusion=WeightedBoxesFusion",
        "--model.inference.fusion.weights=[2,1]",
        "--model.inference.augmentation=TestTimeAugmentation",
        "--model.inference.slices.size=32",
        "--model.postprocess.max_detections=20",
    ],
}


@pytest.fixture(scope="session")
def networks(shapes: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and a file of weights, of two epochs of a run."""
    folder = tmp_path_factory.mktemp("networks")
    # as slow and long as it takes for figures that are not zero, however a processor rounds
    options = ["--model.optimizer.lr=0.002", "--trainer.max_epochs=40", "--checkpoint.save_period=30"]
    check_run("fit", f"--config={config}", *options, cwd=folder)
    checkpoints = folder / "runs" / "fit" / "checkpoints"
    return checkpoints / "epoch30.ckpt", checkpoints / "last.safetensors"


def options_of(name: str, networks: tuple[Path, Path]) -> list[str]:
    first, second = map(str, networks)
    return [option.replace("FIRST", first).replace("SECOND", second) for option in OPTIONS[name]]


@pytest.fixture
def plain(config: Path, networks: tuple[Path, Path]) -> dict[str, float]:
    assert main(["validate", f"--config={config}", f"--ckpt_path={networks[0]}", "--name=plain"]) == 0
    return figures(Path("runs/plain"))


@pytest.mark.parametrize("name", OPTIONS)
def test_validation(name: str, config: Path, networks: tuple[Path, Path], plain: dict[str, float]):
    options = options_of(name, networks)
    assert main(["validate", f"--config={config}", f"--ckpt_path={networks[0]}", "--name=changed", *options]) == 0
    changed = figures(Path("runs/changed"))
    assert list(changed) == list(plain)
    assert changed != plain
    # the loss is that of the network itself
    assert {key: changed[key] for key in changed if "loss" in key} == {
        key: plain[key] for key in plain if "loss" in key
    }
    # the saved configuration says how it was measured, and measures the same
    assert main(["validate", "--config=runs/changed/config.yaml", "--name=again"]) == 0
    assert figures(Path("runs/again")) == changed


def test_yaml_with_bare_names(config: Path, networks: tuple[Path, Path], plain: dict[str, float]):
    inference = {
        "augmentation": {
            "class_path": "TestTimeAugmentation",
            "init_args": {"scales": [1, 0.5], "flips": ["none", "none"]},
        },
        "slices": {"class_path": "Slices", "init_args": {"size": 32}},
        "fusion": "WeightedBoxesFusion",
    }
    content: dict[str, Any] = {"model": {"init_args": {"inference": {"init_args": inference}}}}
    Path("inference.yaml").write_text(yaml.safe_dump(content))
    arguments = [f"--config={config}", "--config=inference.yaml", f"--ckpt_path={networks[0]}", "--name=changed"]
    assert main(["validate", *arguments]) == 0
    assert figures(Path("runs/changed")) != plain


@pytest.mark.parametrize("command", ["test", "predict"])
def test_other_commands(command: str, config: Path, networks: tuple[Path, Path]):
    options = options_of("all", networks)
    assert main([command, f"--config={config}", f"--ckpt_path={networks[0]}", *options]) == 0
    assert any(Path("runs", command).iterdir())


def test_training_leaves_no_trace_in_the_checkpoint(config: Path):
    """Validation in a training run may be augmented, too."""
    options = [*OPTIONS["augmentation"], *OPTIONS["slices"], "--trainer.max_epochs=1"]
    assert main(["fit", f"--config={config}", *options]) == 0
    assert main(["fit", f"--config={config}", "--trainer.max_epochs=1", "--name=plain"]) == 0
    changed, plain = (load(Path("runs", name, "checkpoints", "last.ckpt")) for name in ("fit", "plain"))
    assert changed["hyper_parameters"] == plain["hyper_parameters"]
    assert list(changed["state_dict"]) == list(plain["state_dict"])
    assert all(torch.equal(changed["state_dict"][key], value) for key, value in plain["state_dict"].items())


def test_the_ensemble_is_no_part_of_the_module(networks: tuple[Path, Path]):
    first, second = networks
    parts = {"backbone": partial(CSPDarknet, 0.33, 0.125), "neck": partial(PAFPN, depth_multiple=0.33)}
    options: dict[str, Any] = {"detector": partial(Detector, **parts), "weights": str(first)}
    alone = DetectionModule(CLASS_NAMES, **options)
    together = DetectionModule(CLASS_NAMES, **options, ensemble=[str(second)])
    assert list(together.state_dict()) == list(alone.state_dict())
    assert len(list(together.parameters())) == len(list(alone.parameters()))
    other = together.inference.detectors[1]
    assert not other.training
    together.train()
    assert not other.training
    together.to(torch.bfloat16)  # where the module goes, the others go
    assert {parameter.dtype for parameter in other.parameters()} == {torch.bfloat16}
    images = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE).bfloat16()
    assert len(together.eval()(images)) == 1


MESSAGES = {
    "fit": ("fit", ["--model.ensemble=[SECOND]"], ["model.ensemble", "validate, test and predict", "--model.weights"]),
    "missing": ("validate", ["--model.ensemble=[none.pt]"], ["none.pt", "do not exist"]),
    "weights": (
        "validate",
        ["--model.inference.fusion=WeightedBoxesFusion", "--model.inference.fusion.weights=[1,2]"],
        ["2 weights for 1 networks"],
    ),
    "slices": ("validate", ["--model.inference.slices.size=40"], ["multiples of the stride 32", "64 64"]),
    "views": (
        "validate",
        ["--model.inference.augmentation=TestTimeAugmentation", "--model.inference.augmentation.scales=[1]"],
        ["scales and flips", "one entry for each view"],
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str, config: Path, networks: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    command, options, wanted = MESSAGES[name]
    options = [option.replace("SECOND", str(networks[1])) for option in options]
    assert main([command, f"--config={config}", "--trainer.max_epochs=1", *options]) == 1
    message = capsys.readouterr().err
    assert [part for part in wanted if part not in message] == []
    assert "Traceback" not in message


def test_names_that_differ_are_warned_of(networks: tuple[Path, Path]):
    names = ["circle", "square", "triangle", "star", "plus"]
    with pytest.warns(UserWarning, match=r"names of network and .*epoch30.ckpt differ: 'plus' is 'cross' there"):
        DetectionModule(names, ensemble=[str(networks[0])])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--model.help"], ["--model.inference", "--model.ensemble", "slices.size 640"]),
        (["--model.inference.help=Inference"], ["augmentation", "fusion", "slices"]),
    ],
)
def test_help(options: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["validate", *options])
    text = " ".join(capsys.readouterr().out.split())
    assert [part for part in wanted if part not in text] == []


@pytest.mark.slow
def test_two_processes_measure_the_same(config: Path, networks: tuple[Path, Path], tmp_path: Path):
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    options = [
        *options_of("augmentation", networks),
        *options_of("ensemble", networks),
        "--data.eval_batch_size=2",
        f"--ckpt_path={networks[0]}",
    ]
    for name, processes in (("one", []), ("two", two)):
        check_run("validate", f"--config={config}", *options, f"--name={name}", *processes, cwd=tmp_path)
    measured = figures(tmp_path / "runs" / "one")
    assert figures(tmp_path / "runs" / "two") == measured
    assert measured["val/mar_100"] > 0
