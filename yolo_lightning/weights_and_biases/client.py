"""Opening a run with the wandb client."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.errors import InputError

__all__ = ["RUN_FOLDER", "is_reachable", "open_run", "when_logged"]

RUN_FOLDER = "wandb"
"""Folder of a run directory that holds all that is W&B's."""

_DATA_FOLDER = "data"
_TRANSMIT_SECONDS = 2  # what a killed process loses; by default 15
_INIT_SECONDS = 30.0
_PROBE_SECONDS = 3.0


def open_run(directory: Path, *, finish_timeout: float, must_exist: bool = False, **arguments: Any) -> tuple[Any, bool]:
    """Opens a run, offline if W&B does not answer; nothing is lost then.

    Args:
        directory: The run directory, in which W&B's files are kept, those that are waiting to be sent included.
        finish_timeout: Longest time in seconds that finishing the run may take.
        must_exist: Whether it is an error if W&B does not know the run.
        **arguments: For ``wandb.init``.

    Returns:
        The run, and whether it was to be online and is not.

    Raises:
        InputError: If there is no account, its key is wrong, or W&B refuses the run.
    """
    wandb = import_wandb()
    _keep_data_in(directory)
    settings = {
        "init_timeout": _INIT_SECONDS,
        "finish_timeout": finish_timeout,
        "x_file_stream_transmit_interval": _TRANSMIT_SECONDS,
        "silent": None,
    }
    arguments |= {"dir": str(directory), "resume": "must" if must_exist else "allow"}
    try:
        return wandb.init(settings=_settings(wandb, settings), **arguments), False
    except wandb.errors.Error as error:
        if not _is_silence(error):
            raise InputError(f"W&B does not take this run ({_first_line(error)}): {_REMEDY}") from error
    # Without this the client holds on to the run that could not be opened.
    wandb.teardown()
    arguments |= {"mode": "offline", "resume": "allow"}
    return wandb.init(settings=_settings(wandb, settings), **arguments), True


def is_reachable(base_url: str) -> bool:
    """Whether W&B's server answers, whatever it says."""
    request = urllib.request.Request(base_url, method="HEAD")  # noqa: S310 - the client speaks to it, too
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except (OSError, http.client.HTTPException):
        return False


def when_logged(artifact: Any) -> Future[Any]:
    """The artifact that is being logged, when W&B has it; asking for it with a timeout leaves it on its way.

    ``artifact.wait(timeout)`` does not: when the time is up it gives the upload up, and can never be called again.
    """
    future: Future[Any] = Future()

    def wait() -> None:
        try:
            future.set_result(artifact.wait())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=wait, name="wandb artifact", daemon=True).start()
    return future


_REMEDY = (
    "`wandb login`, or set WANDB_API_KEY, check entity and project, or work without W&B's server: "
    "WANDB_MODE=offline, and later `yolo-lightning wandb-sync`"
)


def _settings(wandb: Any, values: dict[str, Any]) -> Any:
    return wandb.Settings(**{name: value for name, value in values.items() if value is not None})


def _is_silence(error: Exception) -> bool:
    """Whether W&B gave no answer, rather than a refusal."""
    return any(word in str(error).lower() for word in ("timed out", "timeout", "connection refused"))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _keep_data_in(directory: Path) -> None:
    """Lets files that are waiting to be sent lie in the run directory, so that they are there when they are sent."""
    own = os.path.join(RUN_FOLDER, _DATA_FOLDER)  # noqa: PTH118 - compared with the end of a text
    if not (given := os.environ.get("WANDB_DATA_DIR")) or given.endswith(own):
        os.environ["WANDB_DATA_DIR"] = str(directory.absolute() / own)
