"""What a run left at W&B, on a machine that has nothing of it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from yolo_lightning.artifacts import ARTIFACT_PREFIX, fetch_artifact, pinned_address, public_api
from yolo_lightning.errors import InputError
from yolo_lightning.paths import cache_directory, safe_name
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.models import CHECKPOINT_FILE, model_artifact_name

__all__ = ["FetchedRun", "fetch_run"]

_WATCH_SECONDS = 40.0  # a run that lives tells of its machine every 15
_STEP_SECONDS = 2.0


@dataclass(frozen=True)
class FetchedRun:
    """A run to go on with.

    Args:
        address: Where it is.
        folder: Holds ``last.ckpt``, ``config.yaml``, and as far as the run had them ``best.ckpt`` and ``metrics.csv``.
        data: Address of the data set that it used, if W&B has it as one artifact.
        finished: Whether it ended well.
    """

    address: RunAddress
    folder: Path
    data: str | None
    finished: bool


def fetch_run(address: RunAddress) -> FetchedRun:
    """Downloads the last checkpoint of a run and what belongs to it.

    Raises:
        InputError: If W&B knows no such run, it has no checkpoint there, or another machine is training it.
    """
    api = public_api()
    run = _find(api, address)
    _check_nobody_trains(api, address, run)
    data = {ARTIFACT_PREFIX + pinned_address(used) for used in run.used_artifacts() if used.type == "dataset"}
    # Of several, one for each split, only the data.yaml that was lost says which is which.
    return FetchedRun(address, _download(address), data.pop() if len(data) == 1 else None, run.state == "finished")


def _find(api: Any, address: RunAddress) -> Any:
    try:
        return api.run(str(address))
    except Exception as error:  # the client passes on those of several libraries
        raise InputError(f"--resume {address}: W&B does not know this run ({error})") from error


def _check_nobody_trains(api: Any, address: RunAddress, run: Any) -> None:
    """A machine that was lost is shown as running for a while; one that runs gives signs of life."""
    if run.state != "running":
        return
    last, end = getattr(run, "heartbeatAt", None), time.monotonic() + _WATCH_SECONDS
    Console(stderr=True).print(
        f"W&B shows {address} as running: looking for {_WATCH_SECONDS:.0f} s whether a machine still trains it"
    )
    while time.monotonic() < end:
        time.sleep(_STEP_SECONDS)
        api.flush()
        run = api.run(str(address))
        if run.state != "running":
            return
        if getattr(run, "heartbeatAt", None) != last:
            raise InputError(f"--resume {address}: another machine is training this run; stop it there first")


def _download(address: RunAddress) -> Path:
    """The files under their own names, where checkpoints of a run lie side by side."""
    name = f"{address.entity}/{address.project}/{model_artifact_name(address.id)}"
    try:
        last = fetch_artifact(f"{name}:last")
    except InputError as error:
        raise InputError(f"--resume {address}: W&B has no checkpoint of this run: {error}") from error
    if not (last / CHECKPOINT_FILE).is_file() or not (last / "config.yaml").is_file():
        raise InputError(f"--resume {address}: its artifact {name}:last is not one of this library")
    folder = cache_directory() / "resumed" / Path(*map(safe_name, str(address).split("/")))
    folder.mkdir(parents=True, exist_ok=True)
    for file in last.iterdir():
        shutil.copyfile(file, folder / file.name)
    try:
        best = fetch_artifact(f"{name}:best")
    except InputError:  # none was better than nothing
        return folder
    shutil.copyfile(best / CHECKPOINT_FILE, folder / "best.ckpt")
    return folder
