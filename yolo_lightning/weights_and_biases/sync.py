"""Sending what W&B lacks of a run, and proof that it lacks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolo_lightning.artifacts import import_wandb, public_api
from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.client import is_reachable, reopen_run
from yolo_lightning.weights_and_biases.completeness import SyncReport, compare, lacking_summary
from yolo_lightning.weights_and_biases.fragments import Fragment, find_fragments
from yolo_lightning.weights_and_biases.history import MARK, whole_rows
from yolo_lightning.weights_and_biases.ledger import LEDGER_FILE, Ledger
from yolo_lightning.weights_and_biases.remote_run import RemoteRun, read_remote_run, row_time
from yolo_lightning.weights_and_biases.replay import Replay
from yolo_lightning.weights_and_biases.run_folder import only_once, read_run_file

__all__ = ["sync_run"]

_PREEMPTED = 143
_FINISH_SECONDS = 300.0
_RUN_VARIABLES = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_DISABLED", "WANDB_NAME")


def sync_run(directory: Path, tell: Callable[[str], None]) -> SyncReport:
    """Sends what W&B lacks of a run. What it has is not sent again.

    Args:
        directory: The run directory.
        tell: Takes lines that say what happens.

    Returns:
        What was sent, and what is missing now.

    Raises:
        InputError: If it is no directory of a run, the run goes on, a log is damaged, there is no account, or W&B does
            not answer; what was sent by then need not be sent again.
    """
    address = read_run_file(directory)
    with only_once(directory):
        ledger = Ledger(directory / LEDGER_FILE)
        fragments = find_fragments(directory, address.id)
        report = SyncReport(address)
        for fragment in fragments:
            report.lost += [] if fragment.synced else map(str, fragment.log.missing_files())
        for entry in ledger.entries():
            report.lost += [path for path in entry.missing_files() if path not in report.lost]
        for path in report.lost:
            tell(f"{path} is gone, so W&B will not get it")
        with _answers(directory, report):
            _Sync(address, directory, fragments, ledger, report, tell).run()
    return report


@contextmanager
def _answers(directory: Path, report: SyncReport) -> Iterator[None]:
    """Says what was sent if W&B ceases to answer."""
    base_url = import_wandb().setup().settings.base_url
    if not is_reachable(base_url):
        raise InputError(f"{directory}: W&B, {base_url}, does not answer: nothing was sent; run it again later")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the client passes on those of several libraries
        sent = ", ".join(report.sent) or "nothing"
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{directory}: W&B does not take all of it ({first}); sent: {sent}; run it again") from error


class _Sync:
    """One run, step by step."""

    def __init__(
        self,
        address: RunAddress,
        directory: Path,
        fragments: list[Fragment],
        ledger: Ledger,
        report: SyncReport,
        tell: Callable[[str], None],
    ) -> None:
        self._address = address
        self._directory = directory
        self._fragments = fragments
        self._ledger = ledger
        self._report = report
        self._tell = tell
        self._run: Any = None
        exit_codes = [fragment.log.exit_code for fragment in fragments]
        self._exit_code = exit_codes[-1] if exit_codes else None

    def run(self) -> None:
        remote = self._read()
        was_finished = remote is not None and remote.state == "finished"
        self._send_offline(remote)
        remote = self._read()
        if remote is None:
            raise InputError(f"{self._directory}: W&B does not know {self._address}, and there is no log to make it of")
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._complete(remote, Path(folder))
                self._set_state(remote, was_finished, Path(folder))
            finally:
                if self._run is not None:
                    self._run.finish(exit_code=0 if was_finished else self._final_code())
        after = self._read()
        assert after is not None
        self._report.state = after.state
        compare(self._report, after, self._directory, self._fragments, self._ledger)

    # ---------------------------------------------------------------------------------------------- sending

    def _read(self) -> RemoteRun | None:
        return read_remote_run(self._address)

    def _send_offline(self, remote: RemoteRun | None) -> None:
        """By wandb's own command what W&B has nothing of: rows that were sent once would come a second time."""
        for fragment in self._fragments:
            known = remote.row_times if remote is not None else frozenset()
            times = {row_time(row) for row in fragment.log.history}
            if fragment.synced or (remote is not None and not fragment.offline) or times & known:
                continue
            self._tell(f"sending {fragment.log.directory}")
            self._wandb_sync(fragment)
            self._report.sent.append(fragment.log.directory.name)

    def _wandb_sync(self, fragment: Fragment) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _RUN_VARIABLES}
        place = ["--entity", self._address.entity, "--project", self._address.project]
        outcome = subprocess.run(  # noqa: S603 - this interpreter, and a path of the run directory
            [sys.executable, "-m", "wandb", "sync", "--include-online", *place, str(fragment.log.directory.absolute())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode != 0 or not fragment.log.path.with_suffix(".wandb.synced").exists():
            lines = (outcome.stdout + outcome.stderr).strip().splitlines()
            raise InputError(f"{fragment.log.directory}: is not sent: {lines[-1] if lines else outcome.returncode}")

    def _complete(self, remote: RemoteRun, folder: Path) -> None:
        """What neither the process itself nor `wandb sync` has sent."""
        self._log_rows(remote, folder)
        self._log_epochs(remote, folder)
        self._send_media(remote)
        self._set_values(remote, folder)
        replay = Replay(self._address, self._directory, self._ledger, lambda: self._opened(folder))
        for entry in self._ledger.entries():
            try:
                self._report.sent += replay.send(entry)
            except Exception as error:
                if not is_reachable(import_wandb().setup().settings.base_url):
                    raise
                self._tell(f"W&B does not take {entry.name}: {error}")

    def _opened(self, folder: Path) -> Any:
        if self._run is None:
            self._run = reopen_run(folder, self._address, finish_timeout=_FINISH_SECONDS)
        return self._run

    def _log_rows(self, remote: RemoteRun, folder: Path) -> None:
        for fragment in self._fragments:
            rows = [row for row in fragment.log.history if row_time(row) not in remote.row_times]
            if not rows:
                continue
            run = self._opened(folder)
            for name, metric in fragment.log.metrics.items():
                run.define_metric(name, step_metric=metric.step_metric or None)
            for row in rows:
                run.log({name: value for name, value in row.items() if name not in ("_step", "_runtime")})
            self._report.sent.append(f"{len(rows)} rows of {fragment.log.directory.name}")

    def _log_epochs(self, remote: RemoteRun, folder: Path) -> None:
        known = set(remote.epochs)
        for fragment in self._fragments:
            known |= {row["epoch"] for row in fragment.log.history if row.keys() >= {"epoch", MARK}}
        rows = [row for row in whole_rows(self._directory) if row["epoch"] not in known]
        for row in rows:
            run = self._opened(folder)
            for name in row.keys() - {"epoch"}:
                run.define_metric(name, step_metric="epoch")
            run.log(row)
        if rows:
            self._report.sent.append(f"epochs {', '.join(str(row['epoch']) for row in rows)} of metrics.csv")

    def _send_media(self, remote: RemoteRun) -> None:
        count = 0
        for fragment in self._fragments:
            for name in fragment.media:
                if name not in remote.files and fragment.log.file(name).is_file():
                    root = str(fragment.log.file("").absolute())
                    public_api().run(str(self._address)).upload_file(str(fragment.log.file(name).absolute()), root=root)
                    count += 1
        if count:
            self._report.sent.append(f"{count} media files")

    def _set_values(self, remote: RemoteRun, folder: Path) -> None:
        """Configuration and summary, where those of the last process are others."""
        if not self._fragments:
            return
        log = self._fragments[-1].log
        if config := {name: value for name, value in log.config.items() if name not in remote.config}:
            self._opened(folder).config.update(config, allow_val_change=True)
            self._report.sent.append("configuration")
        if summary := lacking_summary(log.summary, remote.summary):
            self._opened(folder).summary.update(summary)
            self._report.sent.append("summary")

    # ---------------------------------------------------------------------------------------------- its state

    def _final_code(self) -> int:
        return 1 if self._exit_code is None else self._exit_code

    def _set_state(self, remote: RemoteRun, was_finished: bool, folder: Path) -> None:
        """How the run ended, if W&B was not told."""
        ended_well = was_finished or self._exit_code == 0
        untold = remote.state in ("running", "pending") and self._exit_code is not None
        if self._run is None and ((remote.state == "finished") != ended_well or untold):
            self._opened(folder)
            self._report.sent.append("how the run ended")
        if self._run is not None and self._exit_code == _PREEMPTED and not was_finished:
            self._run.mark_preempting()
