"""Opening a run with the wandb client."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.secrets import git_settings, hidden_arguments

__all__ = ["RUN_FOLDER", "finish_run", "is_reachable", "open_run", "reopen_run"]

RUN_FOLDER = "wandb"
"""Folder of a run directory that holds all that is W&B's."""

_DATA_FOLDER = "data"
_TRANSMIT_SECONDS = 2  # what a killed process loses; by default 15
_INIT_SECONDS = 30.0
_GRACE_SECONDS = 10.0
_PROBE_SECONDS = 3.0
_PROBES = 3


def open_run(directory: Path, *, finish_timeout: float, must_exist: bool = False, **arguments: Any) -> tuple[Any, bool]:
    """Opens a run, offline if W&B does not answer; nothing is lost then.

    Args:
        directory: The run directory, in which W&B's files are kept, those that are waiting to be sent included.
        finish_timeout: Longest time in seconds that finishing the run may take, after which it raises TimeoutError.
        must_exist: Whether it is an error if W&B does not know the run.
        **arguments: For ``wandb.init``.

    Returns:
        The run, and whether it was to be online and is not.

    Raises:
        InputError: If there is no account, its key is wrong, or W&B refuses the run.
    """
    wandb = import_wandb()
    _keep_data_in(directory)
    # Without waiting for the client's 30 seconds, which leave a run behind that never was.
    silent = not must_exist and _is_online(wandb, arguments.get("mode")) and not _answers(wandb)
    arguments |= {"mode": "offline"} if silent else {}
    settings = {
        "init_timeout": _INIT_SECONDS,
        "finish_timeout": finish_timeout,
        "finish_timeout_raises": True,
        "x_file_stream_transmit_interval": _TRANSMIT_SECONDS,
        "silent": None,
        **git_settings(directory),
    }
    arguments |= {"dir": str(directory), "resume": "must" if must_exist else "allow"}
    is_new = not (directory / RUN_FOLDER).exists()
    try:
        with hidden_arguments():
            return wandb.init(settings=_settings(wandb, settings), **arguments), silent
    except wandb.errors.Error as error:
        if not _is_silence(error):
            wandb.teardown()
            if is_new:  # there is no run that it could belong to
                shutil.rmtree(directory / RUN_FOLDER, ignore_errors=True)
            raise InputError(f"W&B does not take this run ({_first_line(error)}): {_REMEDY}") from error
    # Without this the client holds on to the run that could not be opened.
    wandb.teardown()
    arguments |= {"mode": "offline", "resume": "allow"}
    with hidden_arguments():
        return wandb.init(settings=_settings(wandb, settings), **arguments), True


def reopen_run(folder: Path, address: RunAddress, *, finish_timeout: float) -> Any:
    """Opens a run that W&B knows, to add what it lacks; nothing of this process is recorded in it.

    Args:
        folder: For the client's own files, which are of no use later.
        address: The run.
        finish_timeout: As of :func:`open_run`.

    Raises:
        wandb.errors.Error: If W&B refuses it, or does not answer.
    """
    wandb = import_wandb()
    settings = {
        "init_timeout": _INIT_SECONDS,
        "finish_timeout": finish_timeout,
        "x_file_stream_transmit_interval": _TRANSMIT_SECONDS,
        "x_disable_stats": True,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "disable_git": True,
        "save_code": False,
        "console": "off",
        "silent": True,
    }
    return wandb.init(
        entity=address.entity or None,
        project=address.project,
        id=address.id,
        dir=str(folder),
        mode="online",
        resume="must",
        settings=wandb.Settings(**settings),
    )


def finish_run(run: Any, exit_code: int, timeout: float) -> str | None:
    """Ends a run; says what kept the client from sending all that it had, None if nothing did.

    Args:
        run: It, opened with ``finish_timeout``.
        exit_code: What W&B is told.
        timeout: That ``finish_timeout``. It does not end an upload that a server took and never answers; a while after
            it the client's process is ended, and what it had not sent is left in its files.
    """
    killed = threading.Event()
    watchdog = threading.Timer(timeout + _GRACE_SECONDS, _kill_service, (killed,))
    watchdog.daemon = True
    watchdog.start()
    try:
        run.finish(exit_code=exit_code)
    except Exception as error:
        too_slow = isinstance(error, TimeoutError) or killed.is_set()
        return f"it did not take it in {timeout:g} seconds" if too_slow else repr(error)
    finally:
        watchdog.cancel()
    # The client has been seen to tell that it sent all to a server that answered nothing.
    silent = run.settings.mode == "online" and not is_reachable(run.settings.base_url)
    return "it does not answer" if silent else None


def _kill_service(killed: threading.Event) -> None:
    """Ends the process that sends; the client has no way to."""
    wandb = import_wandb()
    killed.set()
    with suppress(AttributeError):
        wandb.setup()._connection._proc._process.kill()
    with suppress(Exception):  # it tells a process that is no more; what counts is that it does not do so at the exit
        wandb.teardown()


def is_reachable(base_url: str) -> bool:
    """Whether W&B's server answers, whatever it says."""
    request = urllib.request.Request(base_url, method="HEAD")  # noqa: S310 - the client speaks to it, too
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the client may have certificates of its own
    except (OSError, http.client.HTTPException):
        return False


def _is_online(wandb: Any, mode: str | None) -> bool:
    if mode is None and (mode := os.environ.get("WANDB_MODE")) is None:
        mode = wandb.setup().settings.mode  # of the files of `wandb offline` and the like
    return mode == "online"


def _answers(wandb: Any) -> bool:
    for attempt in range(_PROBES):
        if is_reachable(wandb.setup().settings.base_url):
            return True
        time.sleep(_PROBE_SECONDS if attempt + 1 < _PROBES else 0.0)
    return False


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
    first = str(error).strip().partition("\n")[0]
    return "it does not say why" if first in ("", "<no message>") else first


def _keep_data_in(directory: Path) -> None:
    """Lets files that are waiting to be sent lie in the run directory, so that they are there when they are sent."""
    own = os.path.join(RUN_FOLDER, _DATA_FOLDER)  # noqa: PTH118 - compared with the end of a text
    if not (given := os.environ.get("WANDB_DATA_DIR")) or given.endswith(own):
        os.environ["WANDB_DATA_DIR"] = str(directory.absolute() / own)
