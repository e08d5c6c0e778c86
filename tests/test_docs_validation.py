"""The commands and the table of docs/validation.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import check_run, tiny_config, write_shapes
from yolo_lightning.metrics import StoredEvaluation

PAGE = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
OPTIONS = """
data weights batch-size imgsz conf-thres iou-thres max-det task device workers single-cls augment verbose save-txt
save-hybrid save-conf save-json project name exist-ok half dnn
"""
ROWS = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, data and weights under the names of the page."""
    root = tmp_path_factory.mktemp("validation")
    config = tiny_config(write_shapes(root, train=4, val=3), max_epochs=1)
    (root / "tiny.yaml").write_text(yaml.safe_dump(config))
    (root / "configs").symlink_to(ROOT / "configs")
    check_run("fit", "--config=tiny.yaml", cwd=root)
    for name in ("best.ckpt", "best.safetensors"):
        (root / "runs/fit/checkpoints" / name).rename(root / name)
    return root


def test_every_option_of_val_has_a_row():
    assert [name for left, *_ in ROWS for name in re.findall(r"`--([a-z-]+)", left)] == OPTIONS.split()
    assert all(cells[-1].strip(" |") for cells in ROWS if not cells[1].strip())


@pytest.mark.slow
def test_commands(folder: Path):
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.splitlines():
            check_run(*shlex.split(line)[1:], cwd=folder)


@pytest.mark.slow
def test_options_together(folder: Path):
    """All at once, but for one of two that write the same key."""
    options = [code for _, here, *_ in ROWS for code in re.findall(r"`(--[^`]+)`", here) if "=[coco]" not in code]
    assert len(options) > 12
    check_run("validate", "--config=tiny.yaml", *options, cwd=folder)
    (run,) = (folder / "results").iterdir()
    assert run.name == "checked"
    assert list((run / "labels").rglob("*.txt"))
    evaluation = StoredEvaluation.load(run)
    assert (evaluation.split, evaluation.class_names) == ("test", ("object",))
    assert (run / "speed.json").is_file()
