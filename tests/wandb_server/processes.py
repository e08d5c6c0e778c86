"""Clients in processes of their own, which can be killed, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "Machine", "kill_processes", "run_command", "start_command"]

_MARK = "YOLO_LIGHTNING_TEST_MACHINE"


@dataclass(frozen=True)
class Command:
    """A command that runs, or has run.

    Attributes:
        process: It, at the head of a session of its own.
        log: Its output, both streams. A file: a ``wandb-core`` that outlives its client would keep a pipe open.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout: float = 300) -> int:
        """Waits for the end; returns the exit status, negative after a signal."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"runs longer than {timeout} s:\n{self.output}") from error

    def send(self, signal_number: int) -> None:
        """Sends a signal to the process alone, not to its children."""
        self.process.send_signal(signal_number)

    def kill(self) -> None:
        """SIGKILL to the process alone: its ``wandb-core`` lives on for as long as it likes."""
        self.process.kill()
        self.process.wait()


def start_command(args: Sequence[str | Path], env: Mapping[str, str], cwd: Path, log: Path | None = None) -> Command:
    """Starts a command in a session of its own, with its output in a file (by default a new one in ``cwd``)."""
    if log is None:
        log = cwd / f"output-{sum(1 for _ in cwd.glob('output-*.txt'))}.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, args)),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Command(process, log)


def run_command(args: Sequence[str | Path], env: Mapping[str, str], cwd: Path, timeout: float = 300) -> Command:
    """Runs a command to its end, whatever its exit status."""
    command = start_command(args, env, cwd)
    command.wait(timeout)
    return command


class Machine:
    """A computer with a home directory of its own.

    Attributes:
        home: Also the directory where its commands run.
        env: Environment of its commands, in which all of its processes are known.
    """

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.home = home
        self.env = {**env, _MARK: str(home)}

    def start(self, *args: str | Path, **env: str) -> Command:
        """Starts a command, with these environment variables more."""
        return start_command(args, {**self.env, **env}, self.home)

    def start_python(self, code: str, **env: str) -> Command:
        """Starts Python code, indented as it may be."""
        return self.start(sys.executable, "-c", textwrap.dedent(code), **env)

    def run(self, *args: str | Path, **env: str) -> str:
        """Runs a command to its end, which must be a good one; returns its output."""
        return _succeeded(self.start(*args, **env))

    def python(self, code: str, **env: str) -> str:
        """Runs Python code to its end, which must be a good one; returns its output."""
        return _succeeded(self.start_python(code, **env))

    def power_off(self) -> None:
        """SIGKILL to everything at once, as when the computer is lost: client, ``wandb-core`` and workers."""
        kill_processes(self.home)


def _succeeded(command: Command) -> str:
    status = command.wait()
    assert status == 0, f"exit status {status}:\n{command.output}"
    return command.output


def kill_processes(home: Path, timeout: float = 30) -> None:
    """Kills the processes of a machine, and waits until they are gone.

    A ``wandb-core`` has a session of its own, so it is found by its environment, not by group or session. Where there
    is no ``/proc`` nothing is found.
    """
    end = time.monotonic() + timeout
    while running := _processes(home):
        if time.monotonic() > end:
            raise TimeoutError(f"processes {running} of {home} do not die")
        for process in running:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def _processes(home: Path) -> list[int]:
    mark = f"{_MARK}={home}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()  # empty for a zombie
        except OSError:  # it has ended, or is someone else's
            continue
        if mark in environment.split(b"\0"):
            found.append(int(path.parent.name))
    return found
