"""The commands, the table and the code of docs/inference.md."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.inference.conftest import tiny_detector
from tests.runs import CLASS_NAMES, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.inference.writers.video import VideoWriter
from yolo_lightning.models import save_weights

PAGE = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
OPTIONS = """
weights source data imgsz conf-thres iou-thres max-det device view-img save-txt save-format save-csv save-conf save-crop
nosave classes agnostic-nms augment visualize update project name exist-ok line-thickness hide-labels hide-conf half dnn
vid-stride
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def rows() -> list[tuple[str, list[str], str]]:
    cells = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    return [(left.strip(), re.findall(r"`([^`]+)`", here), remarks.strip(" |")) for left, here, remarks in cells]


COMMANDS = [
    line.partition("   #")[0].removeprefix("yolo-lightning ") for block in blocks("bash") for line in block.splitlines()
]
DETECT_OPTIONS = [code for _, codes, _ in rows() for code in codes if code.startswith("--") and code != "--view"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, pictures, a video and a data set, under the names of the page."""
    root = tmp_path_factory.mktemp("inference")
    config = tiny_config(write_shapes(root, train=4, val=3))
    (root / "tiny.yaml").write_text(yaml.safe_dump(config))
    for seed, name in enumerate(("best", "other")):
        save_weights(tiny_detector(len(CLASS_NAMES), seed), root / f"{name}.safetensors", CLASS_NAMES)
    generator = np.random.default_rng(0)
    (root / "pictures").mkdir()
    for name in ("bus.jpg", "pictures/a.jpg", "pictures/b.jpg"):
        cv2.imwrite(str(root / name), cv2.resize(generator.integers(0, 256, (6, 8, 3), np.uint8), (160, 120)))
    with VideoWriter(root / "clip.mp4", 10, (48, 64)) as video:
        for _ in range(3):
            video.write(generator.integers(0, 256, (48, 64, 3), np.uint8))
    return root


def test_every_option_of_detect_has_a_row():
    names = [name for left, _, _ in rows() for name in re.findall(r"`--([a-z-]+)", left)]
    assert names == OPTIONS.split()
    assert all(remarks for _, codes, remarks in rows() if not codes)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(folder)
    if "--operating-point" in command and not list(folder.glob("*.operating_point.json")):
        assert main(shlex.split(next(each for each in COMMANDS if "operating_point" in each))) == 0
    status = main([*shlex.split(command), *(["--device=cpu"] if command.startswith("detect") else [])])
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("option", DETECT_OPTIONS)
def test_option(option: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(folder)
    status = main(["detect", "best.safetensors", "pictures", "--image-size=64", "--device=cpu", *option.split()])
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("code", blocks("python"))
def test_code(code: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("best.safetensors", "bus.jpg", "clip.mp4"):
        shutil.copy(folder / name, tmp_path / name)
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/inference.md", "exec"), {})
