"""The run at W&B as a Lightning logger that loses nothing and holds nothing up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from filelock import BaseFileLock, Timeout
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from yolo_lightning.artifacts import import_wandb, public_api
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.client import finish_run, open_run
from yolo_lightning.weights_and_biases.history import MARK, logged_epochs
from yolo_lightning.weights_and_biases.ledger import LEDGER_FILE, Ledger
from yolo_lightning.weights_and_biases.run_folder import RUN_FILE, run_lock
from yolo_lightning.weights_and_biases.secrets import without_secrets
from yolo_lightning.weights_and_biases.uploader import Uploader

__all__ = ["RunWandbLogger", "wandb_logger"]


class RunWandbLogger(Logger):
    """Logs a run to Weights & Biases: one row for each epoch, with ``epoch`` as the x axis of every chart.

    The run is opened before training starts, so that a wrong key is known then. If W&B does not answer, the run goes on
    offline, and ``yolo-lightning wandb-sync`` sends it later. A run that is resumed goes on in its charts; epochs that
    W&B has already are not logged twice. The configuration is logged without passwords and keys.

    What else is shown are the callbacks of this package, of which the first options below are. The command line adds
    them to the run; in Python, ``Trainer(logger=logger, callbacks=logger.callbacks())`` does.

    Args:
        project: Project at W&B.
        entity: User or team; None takes the default of the account.
        save_period: Send the checkpoint of every so many epochs, besides the best and the last one; None sends only
            these. See ``WandbModels``.
        keep_last: Checkpoints to keep there besides the best; None keeps all.
        upload_dataset: Upload the data of ``fit`` as an artifact: all of it, or ``val`` alone. See ``WandbDataset``.
        bbox_interval: Epochs from one ``BoundingBoxDebugger`` to the next; None shows ten in a run.
        table_interval: Epochs from one ``EvaluationTable`` to the next; None makes ten in a run.
        name: Name of the run; None takes that of the run directory.
        id: Identity of the run; None makes one. A run with it that exists is gone on with.
        mode: ``online``, ``offline`` or ``disabled``; None takes ``WANDB_MODE``, or online.
        group: Runs to show together.
        job_type: Kind of the run, such as ``train``; None takes the command.
        tags: Words to find the run by.
        notes: A text about the run.
        upload_timeout: Longest time in seconds to wait, at the end of the run, for what is still to be sent; a tenth of
            it if W&B does not answer. What is left is in ``wandb-pending.jsonl``.
        finish_timeout: The same for metrics and console output.
    """

    def __init__(
        self,
        project: str = "yolo-lightning",
        entity: str | None = None,
        save_period: int | None = 1,
        keep_last: int | None = 2,
        upload_dataset: bool | Literal["val"] = False,
        bbox_interval: int | None = None,
        table_interval: int | None = 1,
        name: str | None = None,
        id: str | None = None,  # noqa: A002 - as wandb calls it
        mode: Literal["online", "offline", "disabled"] | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        upload_timeout: float = 600.0,
        finish_timeout: float = 60.0,
    ) -> None:
        super().__init__()
        self._arguments: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": name,
            "id": id,
            "mode": mode,
            "group": group,
            "job_type": job_type,
            "tags": list(tags) or None,
            "notes": notes,
        }
        self._save_period = save_period
        self._keep_last = keep_last
        self._upload_dataset = upload_dataset
        self._bbox_interval = bbox_interval
        self._table_interval = table_interval
        self._upload_timeout = upload_timeout
        self._finish_timeout = finish_timeout
        self._directory = Path()
        self._resumes = False
        self._run: Any = None
        self._uploader: Uploader | None = None
        self._row: dict[str, Any] = {}
        self._logged_epochs: set[int] = set()
        self._last_epoch: int | None = None
        self._defined: set[str] = set()
        self._failed = False
        self._lock: BaseFileLock | None = None
        self.image_references: dict[str, tuple[str, str]] = {}
        """By the path of an image, its address in the data set's artifact and its name there, as far as W&B has it;
        filled in the uploader's thread, before anything that is submitted later."""
        self.exit_code = 1
        """What W&B is told if the run does not end well; a callback sets it to what the process ends with."""
        self.preempted = False
        """Whether W&B is told that the run was preempted, and will go on."""

    def callbacks(self) -> list[Callback]:
        """What adds checkpoints, boxes and tables to the run."""
        # Their modules need this one.
        from yolo_lightning.weights_and_biases import (
            BoundingBoxDebugger,
            EvaluationTable,
            WandbDataset,
            WandbModels,
            WandbRun,
        )

        return [
            WandbRun(),
            WandbDataset(self._upload_dataset),  # before the table, which shows its images
            WandbModels(self._save_period, self._keep_last),
            BoundingBoxDebugger(bbox_interval=self._bbox_interval),
            EvaluationTable(self._table_interval),
        ]

    # ---------------------------------------------------------------------------------------------- the run

    def prepare(self, directory: Path, command: str, resumed: RunAddress | None = None) -> None:
        """Opens the run; called once, before training, where the run directory is known.

        Args:
            directory: The run directory.
            command: ``fit``, ``validate``, …
            resumed: The run to go on with, unless this logger was given another.

        Raises:
            InputError: If W&B refuses it.
        """
        self._directory = directory
        self._arguments["name"] = self._arguments["name"] or directory.name
        self._arguments["job_type"] = self._arguments["job_type"] or command
        if resumed is not None and self._arguments["id"] in (None, resumed.id):
            # Its name is what it was called first.
            self._arguments |= {"entity": resumed.entity, "project": resumed.project, "id": resumed.id, "name": None}
            self._resumes = True
        _ = self.experiment

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, in the first process; nothing that can be called without harm in the others."""
        if self._run is None:
            self._open()
        return self._run

    @property
    def uploader(self) -> Uploader | None:
        """What sends files; None in other processes than the first, and when the run is disabled or has ended."""
        return self._uploader

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self._directory

    @property
    def address(self) -> RunAddress | None:
        """Where the run is at W&B; None before it is opened and in other processes than the first."""
        if self._run is None:
            return None
        return RunAddress(self._run.entity or "", self._run.project, self._run.id)

    @property
    def name(self) -> str:
        """The project."""
        return str(self._arguments["project"])

    @property
    def version(self) -> str | None:
        """The run's identity, where it is known."""
        known: str | None = self._run.id if self._run is not None else self._arguments["id"]
        return known

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._directory)

    def _open(self) -> None:
        arguments = {name: value for name, value in self._arguments.items() if value is not None}
        self._run, silent = open_run(
            self._directory, finish_timeout=self._finish_timeout, must_exist=self._resumes, **arguments
        )
        self._arguments["id"] = self._run.id
        online = self._run.settings.mode == "online" and not silent
        if self._run.settings.mode == "disabled":
            return
        self._hold()
        if silent:
            rank_zero_warn(
                f"W&B does not answer: the run goes on offline; `yolo-lightning wandb-sync {self._directory}` sends it"
            )
        self._write_run_file("online" if online else "offline")
        self._uploader = Uploader(self._run, Ledger(self._directory / LEDGER_FILE), online=online)
        if online and self._run.resumed:
            self._logged_epochs = logged_epochs(public_api(), f"{self._run.entity}/{self._run.project}/{self._run.id}")

    def _hold(self) -> None:
        """Keeps wandb-sync from the run while it goes on."""
        with suppress(OSError, NotImplementedError, Timeout):  # file systems that cannot be written, or have no locks
            self._lock = run_lock(self._directory)
            self._lock.acquire(blocking=False)

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _write_run_file(self, mode: str) -> None:
        values = {"entity": self._run.entity, "project": self._run.project, "id": self._run.id, "mode": mode}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / RUN_FILE).write_text(json.dumps(values), encoding="utf-8")
        except OSError as error:
            rank_zero_warn(f"{self._directory / RUN_FILE} is not written, so wandb-sync will not know it: {error}")

    # ---------------------------------------------------------------------------------------------- what is logged

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds to the row of the epoch, which is sent when the next begins or by :meth:`commit`."""
        epoch = metrics.get("epoch", self._row.get("epoch"))
        if "epoch" in self._row and epoch != self._row["epoch"]:
            self.commit()
        self._row |= {**metrics, MARK: step}
        if epoch is not None:
            self._row["epoch"] = int(epoch)

    @rank_zero_only
    def commit(self) -> None:
        """Sends the row, if there is one of an epoch that W&B does not have."""
        row, self._row = self._row, {}
        if row:
            self.log_epoch(row)

    @rank_zero_only
    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Logs the figures of an epoch, which they hold under ``epoch``, unless W&B has them already."""
        if row.get("epoch") in self._logged_epochs:
            return
        self._try(lambda: self._log_row(row))
        if "epoch" in row:
            self._logged_epochs.add(row["epoch"])
            self._last_epoch = row["epoch"]

    def _log_row(self, row: Mapping[str, Any]) -> None:
        for key in row.keys() - self._defined - {"epoch"}:
            # By its whole name: patterns give way to others that the project may have.
            self.experiment.define_metric(key, step_metric="epoch")
            self._defined.add(key)
        self.experiment.log(dict(row))

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Logs the configuration, without passwords and keys."""
        if isinstance(params, Mapping):
            values = without_secrets(params)
            self._try(lambda: self.experiment.config.update(values, allow_val_change=True))

    @rank_zero_only
    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Sets figures of the whole run."""
        self._try(lambda: self.experiment.summary.update(dict(values)))

    @rank_zero_only
    def log_image(self, key: str, images: Iterable[Any], step: int | None = None, **_: Any) -> None:
        """Shows pictures; of those of a run, at its last epoch."""
        shown = list(images)
        self.log_media(key, lambda: [import_wandb().Image(image) for image in shown], self._last_epoch)

    @rank_zero_only
    def log_media(self, key: str, make: Any, epoch: int | None = None) -> None:
        """Shows what takes time to make, off the training thread.

        Args:
            key: Name of its panel.
            make: Called in another thread; returns what ``wandb.log`` takes.
            epoch: The epoch that it is of, if it is of one.
        """
        if self._uploader is None:
            return
        row = {} if epoch is None else {"epoch": epoch}
        self._uploader.submit(key, lambda: self._log_row({key: make(), **row}))

    def _try(self, job: Any) -> None:
        if self._run is None:
            return
        try:
            job()
        except Exception as error:
            if not self._failed:
                self._failed = True
                rank_zero_warn(f"W&B does not get all of the run: {error!r}")

    # ---------------------------------------------------------------------------------------------- its end

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Sends what is left and ends the run; it is opened again if something else is logged."""
        if self._run is None:
            return
        self.commit()
        # A machine that is about to be taken away gives little time.
        timeout = self._upload_timeout / (20 if self.preempted else 1)
        left = self._uploader.close(timeout) if self._uploader is not None else []
        if self.preempted:
            self._try(self._run.mark_preempting)
        exit_code = 0 if status == "success" else self.exit_code
        reason = finish_run(self._run, exit_code, self._finish_timeout)
        if self._uploader is not None and not self._uploader.online:
            rank_zero_info(f"`yolo-lightning wandb-sync {self._directory}` sends this run to W&B")
        elif reason is not None or left:
            lacks = f"{len(left)} of the run's artifacts" if left else "all of the run"
            because = f" ({reason})" if reason is not None else ""
            remedy = f"`yolo-lightning wandb-sync {self._directory}` sends what it lacks"
            rank_zero_warn(f"W&B has not got {lacks} yet{because}: {remedy}")
        self._run = self._uploader = None
        self._let_go()


def wandb_logger(trainer: Trainer) -> RunWandbLogger | None:
    """The logger of a run, if it has one."""
    return next((logger for logger in trainer.loggers if isinstance(logger, RunWandbLogger)), None)
