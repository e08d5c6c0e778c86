"""Every option and hyperparameter in docs/from-yolov5.md, run once on small data."""

from __future__ import annotations

import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.runs import check_run, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, official_state_dict

PAGE = ROOT / "docs" / "from-yolov5.md"

# What people set when they train with YOLOv5: its options, and the keys of its hyperparameter files.
OPTIONS = """
weights cfg data hyp epochs batch-size imgsz rect resume nosave noval noautoanchor noplots evolve evolve_population
resume_evolve bucket cache image-weights device multi-scale single-cls optimizer sync-bn workers project name exist-ok
quad cos-lr label-smoothing patience freeze save-period seed local_rank entity upload_dataset bbox_interval
artifact_alias
"""
HYPERPARAMETERS = """
lr0 lrf momentum weight_decay warmup_epochs warmup_momentum warmup_bias_lr box cls cls_pw obj obj_pw iou_t anchor_t
anchors fl_gamma hsv_h hsv_s hsv_v degrees translate scale shear perspective flipud fliplr mosaic mixup copy_paste
"""


def table() -> list[tuple[str, list[str], str]]:
    """Rows of the page's tables: cell on the left, code in the cell in the middle, remarks."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(len(row) == 3 for row in cells), cells
    return [(left, re.findall(r"`([^`]+)`", here), remarks.strip("| ")) for left, here, remarks in cells]


ALTERNATIVES = [arguments for _, codes, _ in table() for arguments in codes]


def test_every_option_has_a_row():
    names = [name for left, _, _ in table() for name in re.findall(r"`-*([a-z0-9_-]+)", left)]
    assert set(names) == {*OPTIONS.split(), *HYPERPARAMETERS.split()}


def test_what_is_missing_says_why():
    missing = [(left, remarks) for left, codes, remarks in table() if not codes]
    assert all(remarks for _, remarks in missing), missing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page run: data, weights, and a run to resume that has not ended."""
    root = tmp_path_factory.mktemp("from-yolov5")
    data = write_shapes(root, train=8, val=3)
    shutil.copytree(ROOT / "configs", root / "configs")
    config = tiny_config(data, max_epochs=2, limit_train_batches=2)
    # The optimizer and warm-up of YOLOv5, which the page names.
    del config["model"]["init_args"]["optimizer"], config["model"]["init_args"]["warmup"]
    (root / "tiny.yaml").write_text(yaml.safe_dump(config))
    backbone = partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125)
    detector = Detector(num_classes=5, backbone=backbone, neck=partial(PAFPN, depth_multiple=0.33))
    torch.save(official_state_dict(detector), root / "weights.pt")
    check_run("fit", "--config=tiny.yaml", "--trainer.max_epochs=1", cwd=root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ALTERNATIVES)
def test_option(folder: Path, arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    if arguments == "--trainer.sync_batchnorm=true" and not torch.cuda.is_available():
        pytest.skip("SyncBatchNorm needs a GPU")
    command = ["fit", "--config=tiny.yaml", *shlex.split(arguments)]
    if arguments == "--trainer.devices=2":  # starts itself a second time
        check_run(*command, "--trainer.strategy=ddp", cwd=folder)
    else:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("WANDB_MODE", "offline")
        Path("runs/fit/checkpoints/last.ckpt").touch()  # the newest again: the others have ended
        assert main(command) == 0, capsys.readouterr().err
