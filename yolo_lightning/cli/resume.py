"""Which checkpoint ``--ckpt_path`` means, and whether a run can go on from it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from yolo_lightning.artifacts import artifact_address
from yolo_lightning.errors import InputError
from yolo_lightning.models import check_description, resolve_weights

__all__ = ["check_checkpoint", "check_not_finished", "num_epochs_done", "older_run", "resolve_checkpoint"]

_INHERITED = "YOLO_LIGHTNING_CHECKPOINT"


def resolve_checkpoint(given: str, runs: Path, name: str | None, command: str) -> Path:
    """The file that ``--ckpt_path`` means.

    Args:
        given: A file; a run directory, for its last checkpoint to go on training or its best one to evaluate; the
            address of an artifact at W&B; or ``last`` or ``best``, for that of the run under ``runs`` that wrote one
            most recently.
        runs: Directory of the run directories.
        name: Name of the runs to look at, numbered ones included; None for all.
        command: ``fit``, ``validate`` or ``test``.

    Raises:
        InputError: If there is no such run or artifact.
    """
    if artifact_address(given) is not None:
        return resolve_weights(given)
    path = Path(given)
    if path.is_dir():
        return _of_run(path, "last" if command == "fit" else "best")
    if given not in {"last", "best"}:
        return path
    # The first process chooses for those that it starts: another run may write a newer one in between.
    if getattr(rank_zero_only, "rank", 0) != 0 and _INHERITED in os.environ:
        return Path(os.environ[_INHERITED])
    newest = _newest(given, runs, name)
    os.environ[_INHERITED] = str(newest.resolve())
    settings = newest.parents[1] / "config.yaml"
    rank_zero_info(f"Checkpoint: {newest}" + (f" (of a run with --config {settings})" if settings.is_file() else ""))
    return newest


def _of_run(directory: Path, kind: str) -> Path:
    found = directory / "checkpoints" / f"{kind}.ckpt"
    if not found.is_file():
        raise InputError(f"--ckpt_path: {directory} is no run directory with a checkpoints/{kind}.ckpt")
    rank_zero_info(f"Checkpoint: {found}")
    return found


def _newest(kind: str, runs: Path, name: str | None) -> Path:
    wanted = re.compile(".*" if name is None else rf"{re.escape(name)}(-\d+)?")
    found = [path for path in runs.glob(f"*/checkpoints/{kind}.ckpt") if wanted.fullmatch(path.parents[1].name)]
    if not found:
        place = runs / (f"{name}[-2, -3 …]" if name else "*") / "checkpoints" / f"{kind}.ckpt"
        raise InputError(f"--ckpt_path {kind}: there is no {place}; give a file, or --runs and --name of the run")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def check_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint and checks that it is one of this library.

    Raises:
        InputError: If it is not, or if its network needs a class that is not imported.
    """
    if not path.is_file():
        raise InputError(f"--ckpt_path: there is no file {path}")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except Exception as error:
        raise InputError(
            f"--ckpt_path: {path} is not a checkpoint of this library ({type(error).__name__}); "
            "weights from elsewhere, such as a published YOLOv5 file, are given with --model.weights"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(f"--ckpt_path: {path} holds no state_dict, so it is not a checkpoint of this library")
    if "detector" in checkpoint.get("hyper_parameters", {}):
        check_description(checkpoint["hyper_parameters"]["detector"])
    return checkpoint


def check_not_finished(checkpoint: dict[str, Any], path: Path, max_epochs: int | None) -> None:
    """Checks that there is an epoch left to train.

    Raises:
        InputError: If all of ``max_epochs`` are done; without this, nothing would happen and nothing be said.
    """
    if max_epochs is None or max_epochs < 0:
        return
    done = num_epochs_done(checkpoint)
    if done >= max_epochs:
        raise InputError(
            f"--ckpt_path: {path} has {done} epochs behind it and --trainer.max_epochs is {max_epochs}: nothing is "
            f"left to train. Give a larger --trainer.max_epochs to go on; the learning rate then follows the longer "
            "schedule from there"
        )


def num_epochs_done(checkpoint: dict[str, Any]) -> int:
    """Epochs of training that a checkpoint has behind it."""
    epoch = checkpoint.get("epoch")
    if not isinstance(epoch, int):
        return 0
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress", {})
    return epoch + 1 if progress.get("is_last_batch", True) else epoch


def older_run(checkpoint: Path) -> Path:
    """Directory of the run that wrote a checkpoint; its folder, if it was put elsewhere."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
