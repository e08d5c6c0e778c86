"""The commands and the table of docs/benchmark.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs import CLASS_NAMES, run, write_shapes
from tests.tools.networks import write_network
from yolo_lightning.tools.benchmark_candidates import CANDIDATES

PAGE = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")


def test_every_candidate_is_there():
    (table,) = re.findall(r"\| candidate .*?\n\n", PAGE, flags=re.DOTALL)
    named: list[str] = []
    for row in table.splitlines()[2:]:
        words = re.findall(r"`([^`]+)`", row.split(" | ")[0])
        plain = [word for word in words if not word.startswith("-")]
        bases = [name for name in plain if "-" not in name]
        named += [*plain, *(f"{name}{word}" for word in words if word.startswith("-") for name in bases)]
    assert sorted(named) == sorted(CANDIDATES)


@pytest.mark.slow
def test_commands(tmp_path: Path):
    write_shapes(tmp_path, train=3, val=3)
    write_network(tmp_path / "best.safetensors", "P5", CLASS_NAMES)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.splitlines():
            process = run(*shlex.split(line)[1:], "--seconds=0.1", "--batch-size=2", cwd=tmp_path)
            learnt_nothing = "--floor" in line
            assert process.returncode == int(learnt_nothing), process.stdout + process.stderr
            assert ("is not above 0.29" in process.stdout) == learnt_nothing
    assert len(list((tmp_path / "runs").iterdir())) == 4
