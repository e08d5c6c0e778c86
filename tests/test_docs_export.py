"""The commands and tables of docs/export.md."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import CLASS_NAMES, check_run, environment, tiny_config, write_shapes
from tests.tools.networks import write_network
from yolo_lightning.export import FORMATS
from yolo_lightning.runtimes.contract import Contract, Input, Letterboxing, Output

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    (table,) = re.findall(rf"\n\| {re.escape(heading)} \|.*?\n\n", PAGE, flags=re.DOTALL)
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.strip().splitlines()[2:]]


def test_every_format_is_there_with_what_it_can_do():
    header = next(line for line in PAGE.splitlines() if line.startswith("| `--format`"))
    columns = re.findall(r"`--(\w+)`", header)[1:]
    (table,) = re.findall(r"\| `--format`.*?\n\n", PAGE, flags=re.DOTALL)
    told = {}
    for line in table.strip().splitlines()[2:]:
        name, *_, cells = [line.split("|")[1].strip(" `"), line.split("|")[5:-1]]
        told[name] = {column for column, cell in zip(columns, cells, strict=True) if cell.strip() == "yes"}
    assert told == {name: set(kind.abilities) for name, kind in FORMATS.items()}


def test_every_key_of_the_contract_is_explained():
    keys = {key for row in rows_of("key | what it says") for key in re.findall(r"`([\w.]+)`", row[0])}
    inner = {"input": Input, "letterbox": Letterboxing, "output": Output}
    wanted = {"format", "version"}
    for field in dataclasses.fields(Contract):
        parts = inner.get(field.name)
        wanted |= {f"{field.name}.{part.name}" for part in dataclasses.fields(parts)} if parts else {field.name}
    assert {key.replace("input.stride", "input.height") for key in keys} == wanted - {"input.stride"}
    assert "`input.stride`" in PAGE


@pytest.mark.slow
@pytest.mark.timeout(3600)  # nine processes, each of which takes minutes on a busy machine
def test_commands(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `onnx`")
    pytest.importorskip("openvino", reason="needs OpenVINO, of the extra `openvino`")
    data = write_shapes(tmp_path, train=4, val=3)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(data)))
    write_network(tmp_path / "best.safetensors", "P5", CLASS_NAMES)
    shutil.copytree(tmp_path / "images" / "val", tmp_path / "pictures")
    (commands,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in commands.splitlines():
        # A network that learnt nothing has no mAP to lose.
        check_run(*shlex.split(line.partition("   #")[0])[1:], cwd=tmp_path)
    for name in ("best.onnx", "best.torchscript", "suppressing/best.onnx", "small/best-fp16.onnx", "best-int8.onnx"):
        path = tmp_path / name
        assert path.is_file()
        assert path.with_name(f"{path.name}.npz").is_file()
        contract = json.loads(
            path.with_name(f"{path.name}.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
        )
        assert contract["class_names"] == CLASS_NAMES
    assert (tmp_path / "best_openvino_model" / "contract.json").is_file()
    assert len(list((tmp_path / "runs").iterdir())) == 3

    picture = next((tmp_path / "pictures").iterdir())
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    script = tmp_path / "script.py"
    script.write_text(code.replace("bus.jpg", str(picture)))
    process = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "image 1/1" in process.stdout
