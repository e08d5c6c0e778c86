"""The commands of docs/plots.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.plots.test_run import write_run
from tests.runs import tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.plots.run import PICTURES

PAGE = (ROOT / "docs" / "plots.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("   #")[0].removeprefix("yolo-lightning ")
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]


def test_every_picture_is_told():
    assert set(re.findall(r"`(\w+\.png)`", PAGE)) == set(PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    if command.startswith("fit"):
        (tmp_path / "my.yaml").write_text(
            yaml.safe_dump(tiny_config(write_shapes(tmp_path, train=4, val=2), max_epochs=1))
        )
    else:
        for name in ("fit", "fit-2"):
            write_run(tmp_path / "runs" / name)
    assert main(shlex.split(command)) == 0, capsys.readouterr().err
