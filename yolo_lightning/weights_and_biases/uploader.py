"""The one thread that sends to W&B what takes time: files, pictures, tables."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.weights_and_biases.artifact_entries import build_artifact, describe_artifact
from yolo_lightning.weights_and_biases.client import is_reachable, when_logged
from yolo_lightning.weights_and_biases.ledger import Entry, Ledger
from yolo_lightning.weights_and_biases.retention import delete_superseded, superseded
from yolo_lightning.weights_and_biases.staging import release

__all__ = ["Uploader"]

_LONGEST_PAUSE = 60.0
_LOOK_SECONDS = 0.5  # how long new work waits for an artifact under way
_PROBE_SECONDS = 2.0


class Uploader:
    """Does what is submitted one after another, and sends artifacts in between, so that training never waits for W&B.

    An artifact is in the ledger from when it is made until W&B has it, and sending is tried again and again. Without a
    server, artifacts wait until the end of the run, and those that are superseded by then are not kept; the others go
    into W&B's own files of the run, and stay in the ledger until ``yolo-lightning wandb-sync`` finds them at W&B.

    Args:
        run: The wandb run.
        ledger: What is not sent yet.
        online: Whether there is a server.
    """

    def __init__(self, run: Any, ledger: Ledger, *, online: bool) -> None:
        self.run = run
        self.online = online
        self._ledger = ledger
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._waiting: list[Entry] = []
        self._made: dict[str, Any] = {}
        self._then: dict[str, Callable[[Any], None]] = {}
        self._under_way: tuple[Entry, Future[Any]] | None = None
        self._pause = 0.0
        self._next_try = 0.0
        self._closing = threading.Event()
        self._stopped = threading.Event()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="wandb uploader", daemon=True)
        self._thread.start()

    def submit(self, what: str, job: Callable[[], None]) -> None:
        """Does something in the thread; if it fails, a warning says so once for each ``what``."""
        self._jobs.put((what, job))

    def send(self, entry: Entry, artifact: Any = None) -> None:
        """Notes an artifact in the ledger, and sends it when its turn comes.

        Args:
            entry: What it holds; its files must stay as they are until it is sent.
            artifact: The same as a wandb artifact, if it has been made; it is sent as it is.
        """
        self._note(entry)
        if artifact is not None:
            self._made[entry.key] = artifact
        self._waiting.append(entry)
        self._jobs.put(("wake up", lambda: None))

    def send_built(
        self, what: str, build: Callable[[], tuple[Entry, Any]], then: Callable[[Any], None] | None = None
    ) -> None:
        """Makes an artifact in the thread, where it takes time, and sends it.

        Args:
            what: What it is, for a warning.
            build: Makes the entry without what it holds, and the wandb artifact that holds it.
            then: Called in the thread with the artifact as W&B has it, when it has it.
        """

        def job() -> None:
            entry, artifact = build()
            if then is not None:
                self._then[entry.key] = then
            self.send(describe_artifact(entry, artifact), artifact)

        self.submit(what, job)

    def close(self, timeout: float) -> list[Entry]:
        """Sends what is left and ends the thread; gives up after a time, or sooner if W&B does not answer.

        Args:
            timeout: In seconds; a tenth of it where W&B does not answer.

        Returns:
            What has not been sent; it is in the ledger.
        """
        self._closing.set()
        self._jobs.put(("end", lambda: None))
        end = time.monotonic() + timeout
        silent_end = time.monotonic() + timeout / 10
        while self._thread.is_alive() and time.monotonic() < end:
            self._thread.join(_PROBE_SECONDS)
            if self.online and self._thread.is_alive():
                if is_reachable(self.run.settings.base_url):
                    silent_end = time.monotonic() + timeout / 10
                elif time.monotonic() > silent_end:
                    break
        self._stopped.set()
        return list(self._waiting)

    # ---------------------------------------------------------------------------------------------- in the thread

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._do_next()
            self._drop_superseded()
            if self.online and self._waiting:
                self._send_first()
            elif self._closing.is_set() and self._jobs.empty():
                break
        if not self.online and not self._stopped.is_set():
            self._write_offline()

    def _do_next(self) -> None:
        """The next job; waits for one while there is nothing else to do."""
        with suppress(queue.Empty):
            what, job = self._jobs.get(timeout=self._idle_seconds())
            self._attempt(what, job)

    def _idle_seconds(self) -> float | None:
        if not (self.online and self._waiting):
            return 0.0 if self._closing.is_set() else None
        return 0.0 if self._under_way is not None else max(self._next_try - time.monotonic(), 0.0)

    def _send_first(self) -> None:
        entry = self._waiting[0]
        try:
            if self._under_way is None:
                if time.monotonic() < self._next_try:
                    return
                self._under_way = entry, when_logged(self._log(entry, self._made.pop(entry.key, None)))
            wait([self._under_way[1]], timeout=_LOOK_SECONDS)
            if not self._under_way[1].done():
                return
            logged = self._under_way[1].result()
            if entry.kind == "use" and entry.files:
                self.run.use_artifact(logged)
        except Exception as error:
            self._warn("sending", f"W&B does not take {entry.name} yet ({error!r}); it is tried again")
            self._under_way = None  # what it was made of is in the entry
            self._pause = min(max(2 * self._pause, 1.0), _LONGEST_PAUSE)
            self._next_try = time.monotonic() + self._pause
            return
        self._under_way, self._pause = None, 0.0
        self._done(entry)
        if (then := self._then.pop(entry.key, None)) is not None:
            self._attempt(f"what follows on {entry.name}", lambda: then(logged))
        self._attempt("the removal of older versions", lambda: delete_superseded(self.run, entry))

    def _drop_superseded(self) -> None:
        for entry in superseded(self._waiting):
            if self._under_way is None or self._under_way[0] is not entry:
                self._done(entry)

    def _log(self, entry: Entry, artifact: Any) -> Any:
        artifact = artifact if artifact is not None else build_artifact(entry)
        if isinstance(artifact, str):
            return self.run.use_artifact(artifact)
        # One that is used is logged first: using it at once would wait, and hold up all else, until W&B has it.
        return self.run.log_artifact(artifact, aliases=list(entry.aliases))

    def _write_offline(self) -> None:
        """Into the files of W&B's offline run, which `wandb sync` sends; they stay in the ledger until it was seen."""
        for entry in self._waiting:
            if entry.kind == "log" or entry.files:
                self._attempt(entry.name, lambda entry=entry: self._log_offline(entry))  # type: ignore[misc]

    def _log_offline(self, entry: Entry) -> None:
        artifact = self._made.pop(entry.key, None) or build_artifact(entry)
        self.run.log_artifact(artifact, aliases=list(entry.aliases))

    def _note(self, entry: Entry) -> None:
        try:
            self._ledger.add(entry)
        except OSError as error:
            self._warn("ledger", f"{self._ledger.file} cannot be written ({error}): what is not sent may be lost")

    def _done(self, entry: Entry) -> None:
        self._waiting.remove(entry)
        self._made.pop(entry.key, None)
        with suppress(OSError):  # then wandb-sync sends it again, and W&B sees that it is the same
            self._ledger.remove(entry)
        release(entry, self._ledger.file.parent)

    def _attempt(self, what: str, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            self._warn(what, f"W&B does not get {what}: {error!r}")

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            rank_zero_warn(message)
