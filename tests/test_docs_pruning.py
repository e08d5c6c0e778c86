"""The commands of docs/pruning.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import check_run, tiny_config, write_shapes

PAGE = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("   #")[0].removeprefix("yolo-lightning ")
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.slow
def test_commands(tmp_path: Path):
    pytest.importorskip("torch_pruning", reason="needs torch-pruning, of the extra `prune`")
    config = tiny_config(write_shapes(tmp_path, train=4, val=2), max_epochs=1)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    check_run("fit", "--config", "my.yaml", cwd=tmp_path)
    for command in COMMANDS:
        shorter = command.replace("--trainer.max_epochs 20", "--trainer.max_epochs 1")
        fast = ["--image-size=64"] if command.startswith(("prune", "detect")) else []
        check_run(*shlex.split(shorter), *fast, cwd=tmp_path)
    for written in ("small.safetensors", "runs/fit-2/checkpoints/best.safetensors"):
        assert (tmp_path / written).is_file()
    assert (tmp_path / "runs/fit/checkpoints/best-pruned.safetensors").is_file()
