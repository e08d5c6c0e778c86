"""Configurations that come with the library, by their names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import environment, tiny_config
from yolo_lightning.cli import main
from yolo_lightning.cli.config_file import use_shipped_configs
from yolo_lightning.shipped import find_config, shipped_configs


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_of_the_folder():
    found = set(shipped_configs().values())
    assert found == set((ROOT / "configs").rglob("*.yaml"))
    assert {"quickstart", "model/yolov5n6", "recipe/VOC", "logger/wandb"} <= set(shipped_configs())


@pytest.mark.parametrize("name", ["model/yolov5s", "model/yolov5s.yaml", "configs/model/yolov5s.yaml"])
@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
def test_a_name(name: str, form: list[str]):
    (*_, word) = use_shipped_configs(["fit", *(part.format(name) for part in form)])
    assert Path(word.removeprefix("--config=")) == ROOT / "configs" / "model" / "yolov5s.yaml"


def test_a_file_of_the_user_goes_first():
    Path("quickstart").write_text("name: mine\n")
    assert use_shipped_configs(["fit", "--config", "quickstart"]) == ["fit", "--config", "quickstart"]
    assert find_config("quickstart") == ROOT / "configs" / "quickstart.yaml"


def test_other_words_stay():
    words = ["fit", "--name", "quickstart", "--config", '{"name": "a"}', "--config"]
    assert use_shipped_configs(words) == words


def test_no_such_name(capsys: pytest.CaptureFixture[str]):
    assert main(["fit", "--config=none.yaml"]) == 1
    message = capsys.readouterr().err
    assert "--config none.yaml: there is no such file, nor a shipped one: " in message
    assert "quickstart" in message
    assert "model/yolov5s" in message


@pytest.mark.slow
def test_a_wheel_far_from_the_repository(tmp_path: Path):
    """Its own files are all that there is: the package of the wheel, in a folder of its own."""
    pytest.importorskip("hatchling", reason="needs hatchling, of the extra `test`, which builds the wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    content = tiny_config(None, max_epochs=1)
    content["data"]["init_args"] = {"dataset": {"init_args": {"num_train_images": 8, "num_val_images": 4}}}
    (tmp_path / "fewer.yaml").write_text(yaml.safe_dump({"data": content["data"], "trainer": content["trainer"]}))
    words = ["fit", "--config", "quickstart", "--config", "fewer.yaml"]
    process = subprocess.run(
        [sys.executable, "-m", "yolo_lightning", *words],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path / "installed")),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert (tmp_path / "runs" / "quickstart" / "checkpoints" / "best.ckpt").is_file()
