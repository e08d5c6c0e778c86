"""The commands and the code of docs/statistics.md."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.metrics.make import make_stored, perturbed
from yolo_lightning.cli import main
from yolo_lightning.metrics import ERROR_KINDS, EVALUATION_FILE

PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, tmp_path, monkeypatch, capsys):
    model = make_stored(20)
    for number, name in enumerate(("fit", "first", "second", *(f"{side}{seed}" for side in "ab" for seed in range(3)))):
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        perturbed(model, 0.05, seed=number).save(directory / EVALUATION_FILE)
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command, comments=True)
    assert program == "yolo-lightning"
    assert main([*arguments, "--resamples=100"]) == 0
    assert "yolov5_map" in capsys.readouterr().out or arguments[0] == "explain"


def test_code(capsys):
    (code,) = blocks("python")
    names = {"run": ROOT, "other": ROOT}
    model = make_stored(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_lightning.metrics.stored.StoredEvaluation.load", lambda path: model)
        exec(compile(code, "docs/statistics.md", "exec"), names)
    assert names["intervals"]["map"].low < names["intervals"]["map"].high
    assert {figure.verdict for figure in names["comparison"].figures} == {"noise"}


def test_every_kind_of_error_is_explained():
    described = set(re.findall(r"^\| (\w+) \|", PAGE, flags=re.MULTILINE))
    assert set(ERROR_KINDS) <= described
