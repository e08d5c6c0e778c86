"""Commands in processes that begin with everything imported, since that takes most of the time of a short run.

``python -m tests.weights_and_biases.warm`` imports the command line once and forks for each command; a command is a
process of its own from there on, with its own environment, directory and end (exit handlers included).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

__all__ = ["WarmCommand", "WarmProcess"]


@dataclass(frozen=True)
class WarmCommand:
    """A command that runs, or has run.

    Attributes:
        pid: Its process, at the head of a session of its own.
        log: Its output, both streams.
    """

    pid: int
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def status(self) -> int | None:
        """Exit status, negative after a signal; None while it runs."""
        file = self.log.with_suffix(".status")
        return int(file.read_text()) if file.exists() else None

    def wait(self, timeout: float = 300) -> int:
        """Waits for the end; returns the exit status, negative after a signal."""
        end = time.monotonic() + timeout
        while (status := self.status) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"runs longer than {timeout} s:\n{self.output}")
            time.sleep(0.02)
        return status

    def send(self, signal_number: int) -> None:
        os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """SIGKILL to the process alone."""
        self.send(signal.SIGKILL)
        self.wait()


class WarmProcess:
    """The process that has imported everything, a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands: list[WarmCommand] = []
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "warm.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.weights_and_biases.warm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                text=True,
                start_new_session=True,
            )
        self._answer()

    def start(self, args: Sequence[object], env: Mapping[str, str], cwd: Path) -> WarmCommand:
        """Starts ``yolo-lightning`` with arguments."""
        log = self._folder / f"command-{len(self._commands)}.txt"
        order = {"args": list(map(str, args)), "env": dict(env), "cwd": str(cwd), "log": str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._commands.append(WarmCommand(int(self._answer()), log))
        return self._commands[-1]

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._folder / "warm.txt").read_text()
        return line

    def __enter__(self) -> WarmProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for command in self._commands:
            if command.status is None:
                command.kill()
        self._process.kill()
        self._process.wait()


def _serve() -> list[str]:
    """Forks for each order; returns the arguments of one in the process that is to carry it out."""
    import wandb  # noqa: F401

    import yolo_lightning.cli.training  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        watcher = os.fork()
        if watcher:
            os.close(write)
            print(os.read(read, 32).decode(), file=answers, flush=True)
            os.close(read)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the watchers are nobody's concern
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        worker = os.fork()
        if worker:
            os.write(write, str(worker).encode())
            os.close(write)
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            temporary = Path(order["log"]).with_suffix(".part")
            temporary.write_text(str(status))
            temporary.replace(Path(order["log"]).with_suffix(".status"))
            os._exit(0)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        file = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (file, 1), (file, 2)):
            os.dup2(source, target)
        _own_media_folder()
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        sys.argv = ["yolo-lightning", *order["args"]]
        return order["args"]
    os._exit(0)


def _own_media_folder() -> None:
    """The client makes it when it is imported, and removes it when it ends: other forks would miss it."""
    from wandb.sdk.data_types._private import MEDIA_TMP

    MEDIA_TMP._finalizer.detach()
    MEDIA_TMP.__init__("wandb-media")


if __name__ == "__main__":
    arguments = _serve()
    from yolo_lightning.cli import main

    sys.exit(main(arguments))
