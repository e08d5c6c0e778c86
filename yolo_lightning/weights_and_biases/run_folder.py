"""Which run at W&B a run directory is of, and who works on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.client import RUN_FOLDER

__all__ = ["RUN_FILE", "only_once", "read_run_file", "run_lock"]

RUN_FILE = "wandb-run.json"
"""Name of the file in a run directory that says which run at W&B it is."""

_LOCK_FILE = "run.lock"


def read_run_file(directory: Path) -> RunAddress:
    """Which run a run directory is of.

    Raises:
        InputError: If it is of none.
    """
    file = directory / RUN_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return RunAddress(values["entity"] or "", values["project"], values["id"])
    except FileNotFoundError as error:
        raise InputError(
            f"{directory}: is not the directory of a run that was logged to W&B: it has no {RUN_FILE}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def run_lock(directory: Path) -> FileLock:
    """Held by the process that logs the run, or sends it; a process that dies lets it go.

    Raises:
        OSError: If the directory cannot be written.
    """
    folder = directory.absolute() / RUN_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / _LOCK_FILE)


@contextmanager
def only_once(directory: Path) -> Iterator[None]:
    """Keeps others from working on the run.

    Raises:
        InputError: If it goes on, or is being sent.
    """
    try:
        lock = run_lock(directory).acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{directory}: this run goes on, or is being sent; wait for its end") from error
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error})") from error
    with lock:
        yield
