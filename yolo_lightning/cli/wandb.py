"""Going on with a run at W&B: ``fit --resume entity/project/runid``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from yolo_lightning.artifacts import artifact_address
from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases import WandbRun
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.models import CHECKPOINT_FILE
from yolo_lightning.weights_and_biases.resume import fetch_run

__all__ = ["resume_from_wandb", "wandb_run_of"]

_OPTION = "--resume"
_INHERITED = "YOLO_LIGHTNING_RESUMED"


def resume_from_wandb(args: Sequence[str]) -> list[str]:
    """Arguments with what ``--resume`` means: configuration, checkpoint and data, fetched from W&B.

    Options of the user win over those of the run, apart from the checkpoint.

    Raises:
        InputError: If the run cannot be gone on with.
    """
    given, others = _split(args)
    if given is None:
        return list(args)
    if not others or others[0] != "fit" or any(word.split("=")[0] == "--ckpt_path" for word in others):
        raise InputError(f"{_OPTION} is for `yolo-lightning fit`, and brings its own checkpoint: leave --ckpt_path out")
    address = RunAddress.parse(given)
    options = others[1:]
    inherited = os.environ.get(_INHERITED) if getattr(rank_zero_only, "rank", 0) != 0 else None
    words = inherited.split("\n") if inherited else _fetch(address, options)
    os.environ[_INHERITED] = "\n".join(words)
    return ["fit", *words[:2], *options, *words[2:]]


def wandb_run_of(checkpoint: Mapping[str, Any]) -> RunAddress | None:
    """The run at W&B that a checkpoint is of, if it is of one."""
    state = checkpoint.get("callbacks", {}).get(WandbRun.__qualname__, {})
    return RunAddress.parse(state["run"]) if state.get("run") else None


def _split(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of the option, and the other arguments."""
    others = list(args)
    for position, word in enumerate(others):
        if word == _OPTION and position + 1 < len(others):
            return others[position + 1], others[:position] + others[position + 2 :]
        if word.startswith(f"{_OPTION}="):
            return word.partition("=")[2], others[:position] + others[position + 1 :]
    return None, others


def _fetch(address: RunAddress, options: Sequence[str]) -> list[str]:
    fetched = fetch_run(address)
    if fetched.finished and not _is_given("--trainer.max_epochs", options):
        raise InputError(
            f"{_OPTION} {address}: this run has finished; give a larger --trainer.max_epochs to train it further"
        )
    config = fetched.folder / "config.yaml"
    words = ["--config", str(config), "--ckpt_path", str(fetched.folder / CHECKPOINT_FILE)]
    rank_zero_info(f"Going on with {address}, fetched to {fetched.folder}")
    if not _is_given("--data.path", options) and not _is_given("--data.init_args.path", options):
        words += _data(address, config, fetched.data)
    return words


def _data(address: RunAddress, config: Path, artifact: str | None) -> list[str]:
    """The data that the run used: here, or from W&B."""
    path = yaml.safe_load(config.read_text(encoding="utf-8")).get("data", {}).get("init_args", {}).get("path")
    if path is None or artifact_address(path) is not None or Path(path).exists():
        return []
    if artifact is None:
        raise InputError(
            f"{_OPTION} {address}: its data, {path}, is not on this machine, and W&B does not have it as one artifact: "
            "give --data.path"
        )
    return ["--data.path", artifact]


def _is_given(option: str, options: Sequence[str]) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in options)
