"""Tiny runs of the command line: a network of milliseconds on pictures of 64 pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import torch

from tests.conftest import ROOT
from tests.data.make import write_label, write_yaml
from yolo_lightning.data import SyntheticShapes

IMAGE_SIZE = 64
CLASS_NAMES = list(SyntheticShapes.class_names)


def write_shapes(root: Path, train: int = 12, val: int = 5, names: list[str] = CLASS_NAMES) -> Path:
    """Shapes as a YOLO-format data set on disk, with a test split that is like val; returns its yaml."""
    for split, count in (("train", train), ("val", val), ("test", val)):
        shapes = SyntheticShapes(
            None, split, num_train_images=train, num_val_images=val, num_test_images=val, image_size=IMAGE_SIZE
        )
        for index in range(count):
            sample = shapes[index]
            image = root / "images" / split / f"{index:03}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(cv2.imencode(".png", sample.image[..., ::-1])[1].tobytes())
            rows = []
            for (left, top, right, bottom), label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
                centre_x, centre_y = (left + right) / 2 / IMAGE_SIZE, (top + bottom) / 2 / IMAGE_SIZE
                width, height = (right - left) / IMAGE_SIZE, (bottom - top) / IMAGE_SIZE
                rows.append(f"{label} {centre_x:.6f} {centre_y:.6f} {width:.6f} {height:.6f}\n")
            write_label(image, "".join(rows))
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    return write_yaml(root / "data.yaml", {"path": ".", **splits, "names": names})


def tiny_config(data: Path | None, **trainer: Any) -> dict[str, Any]:
    """Configuration of a network of an eighth of the width, learning by AdamW from the first batch."""
    models = "yolo_lightning.models"
    backbone = {"class_path": f"{models}.CSPDarknet", "init_args": {"depth_multiple": 0.33, "width_multiple": 0.125}}
    neck = {"class_path": f"{models}.PAFPN", "init_args": {"depth_multiple": 0.33}}
    return {
        "model": {
            "init_args": {
                "detector": {"init_args": {"backbone": backbone, "neck": neck}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
                "warmup": {"epochs": 0.0},
                "nominal_batch_size": 8,
                # so low that a few epochs give figures other than zero
                "postprocess": {"init_args": {"confidence_threshold": 1e-5}},
            }
        },
        "data": {
            "init_args": {
                "path": None if data is None else str(data),
                "image_size": IMAGE_SIZE,
                "batch_size": 4,
                "num_workers": 0,
                "train_transform": {"init_args": {"mosaic": 0.5}},
            }
        },
        "ema": {"decay": 0.5, "ramp": 1.0},
        "plots": {"enabled": False},  # they take seconds
        "trainer": {"accelerator": "cpu", "enable_model_summary": False, "enable_progress_bar": False, **trainer},
    }


def command(*arguments: object) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-m", "yolo_lightning", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """One thread for each process, so that results are equal to the last bit, and the package of this checkout."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        # left by runs in the process of the tests
        if name not in {"YOLO_LIGHTNING_RUN_DIRECTORY", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"}
    }
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**inherited, **threads, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}


def run(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def check_run(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line, which must succeed."""
    process = run(*arguments, cwd=cwd, **variables)
    assert process.returncode == 0, process.stdout + process.stderr
    return process


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, which holds plain values only."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def figures(directory: Path) -> dict[str, float]:
    """The figures of a run."""
    content: dict[str, float] = json.loads((directory / "metrics.json").read_text())
    return content


def assert_same_tensors(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Equal names and values, to the last bit."""
    assert list(first) == list(second)
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"{len(different)} of {len(first)} tensors differ, {different[:3]} …"
