"""The commands of docs/devices.md."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.runs import check_run, tiny_config, write_shapes
from yolo_lightning.cli import main

PAGE = ROOT / "docs" / "devices.md"


def commands() -> list[tuple[str, bool]]:
    """Arguments after the program's name, and whether they need a GPU."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    found = []
    for line in lines:
        program, _, remark = line.partition(" #")
        match = re.search(r"yolo[-_]lightning (.*)", program)
        assert match, line
        found.append((match.group(1).strip(), remark.strip().startswith("GPU")))
    return found


def test_there_are_commands():
    assert {gpu for _, gpu in commands()} == {True, False}
    assert len(commands()) > 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("devices")
    config = tiny_config(write_shapes(root, train=4, val=2), max_epochs=1)
    (root / "my.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.mark.parametrize("arguments", [arguments for arguments, gpu in commands() if gpu])
def test_options_of_commands_for_a_gpu(
    arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(arguments), "--print_config"])
    assert stopped.value.code == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [arguments for arguments, gpu in commands() if not gpu])
def test_command(arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    if "--trainer.devices" in arguments:  # starts itself a second time
        check_run(*shlex.split(arguments), cwd=folder)
        return
    monkeypatch.chdir(folder)
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # a second, not minutes
    assert main(shlex.split(arguments)) == 0, capsys.readouterr().err
