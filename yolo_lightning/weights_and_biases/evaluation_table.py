"""Every image of the validation data in a table at W&B, the worst first."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.callbacks.best_epoch import BestEpoch
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.metrics.image_errors import confident
from yolo_lightning.weights_and_biases.artifact_entries import describe_artifact
from yolo_lightning.weights_and_biases.boxes import class_labels
from yolo_lightning.weights_and_biases.evaluation_callback import EvaluationCallback
from yolo_lightning.weights_and_biases.ledger import Entry
from yolo_lightning.weights_and_biases.logger import RunWandbLogger
from yolo_lightning.weights_and_biases.staging import staging_folder
from yolo_lightning.weights_and_biases.table_file import TableRequest
from yolo_lightning.weights_and_biases.table_format import TABLE_SUFFIX
from yolo_lightning.weights_and_biases.uploader import Uploader

__all__ = ["EvaluationTable", "table_artifact_name"]

_TABLE = f"result{TABLE_SUFFIX}"
_PANEL = "evaluation"
_WRITER = "yolo_lightning.weights_and_biases.table_file"
_WRITER_SECONDS = 1800
# Other threads wait for one that computes: after so many references it lets them go first.
_SLICE, _PAUSE_SECONDS = 20, 0.002


def table_artifact_name(run_id: str) -> str:
    """Name of the artifact of a run's evaluation tables."""
    return f"run_{run_id}_predictions"


class EvaluationTable(EvaluationCallback):
    """Puts every validation image into a table at W&B, with its labels and predictions, the worst image first.

    The table is ``result`` in a version of the artifact ``run_<id>_predictions``, with aliases ``latest``, ``last`` and
    ``epoch-N`` (from 0, as in the charts), and ``best`` if none was better before; the panel ``evaluation`` shows the
    newest. A row has the image, with boxes in the groups ``predictions`` and ``ground_truth``, the number of labels
    that were missed and of detections that were false (IoU .5), the F1 of both, and for each class the mean confidence
    of its detections, 0 if there is none. Images are those of the data set's artifact and are not sent again; without
    one there is no table. It is made in a process of its own and sent off the training thread.

    Args:
        interval: Make one every so many epochs, and of the last one. None: ten times in a run, or every epoch if there
            are ten or fewer.
        confidence_threshold: Detections below it do not count and are not shown.
        keep_last: Older versions than so many are deleted, except for the best, and those that you gave an alias; None
            keeps all.
        monitor: Figure that tells the best table, the larger the better.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        interval: int | None = 1,
        confidence_threshold: float = 0.25,
        keep_last: int | None = 3,
        monitor: str = "val/fitness",
    ) -> None:
        super().__init__(interval)
        if keep_last is not None and keep_last < 1:
            raise ValueError(f"keep_last of EvaluationTable must be at least 1, got {keep_last}")
        self.confidence_threshold = confidence_threshold
        self.keep_last = keep_last
        self._best = BestEpoch(monitor)
        self._told = False
        self._references: dict[str, Any] = {}

    def show(self, trainer: Trainer, logger: RunWandbLogger, evaluation: StoredEvaluation, epoch: int | None) -> None:
        """Has the table made and sent."""
        assert logger.uploader is not None
        assert logger.address is not None
        figure = trainer.callback_metrics.get(self._best.monitor)
        fitness = None if figure is None else float(figure)
        aliases = ["latest", "last"]
        if epoch is not None:
            aliases.append(f"epoch-{epoch}")
            if fitness is not None and self._best.is_now(trainer):
                aliases.append("best")
        entry = Entry(
            "log",
            table_artifact_name(logger.address.id),
            "evaluation",
            tuple(aliases),
            {"epoch": epoch, "split": evaluation.split, "fitness": fitness},
            keep_last=self.keep_last,
        )
        uploader = logger.uploader
        uploader.submit("the evaluation table", lambda: self._send(uploader, logger, entry, evaluation))

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return self._best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure of a resumed run."""
        self._best.load_state_dict(state_dict)

    # ---------------------------------------------------------------------------------------------- in the thread

    def _send(self, uploader: Uploader, logger: RunWandbLogger, entry: Entry, evaluation: StoredEvaluation) -> None:
        references = [logger.image_references.get(image) for image in evaluation.images]
        if not any(references):
            self._tell_once()
            return
        artifact = import_wandb().Artifact(entry.name, entry.type)
        folder = staging_folder(logger.directory, f"predictions-{entry.key[:8]}")
        epoch = entry.metadata["epoch"]
        request = TableRequest(
            evaluation=str(folder / "evaluation.npz"),
            table=str(folder / _TABLE),
            epoch=epoch,
            names=[None if reference is None else reference[1] for reference in references],
            classes=_add_classes(artifact, evaluation.class_names),
        )
        try:
            shown = replace(evaluation, data=confident(evaluation.data, self.confidence_threshold))
            counts = _write_elsewhere(request, shown)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for reference in references:
            if reference is not None:
                self._add_reference(artifact, *reference)
        artifact.add_file(request.table, name=_TABLE, policy="immutable", skip_cache=True)
        metadata = {**entry.metadata, **counts, "confidence_threshold": self.confidence_threshold}
        artifact.metadata.update(metadata)
        uploader.send(describe_artifact(replace(entry, metadata=metadata), artifact), artifact)
        cell = _panel_cell(artifact, Path(request.table), counts["images"])
        logger.log_media(_PANEL, lambda: cell, epoch)

    def _add_reference(self, artifact: Any, uri: str, name: str) -> None:
        """As ``add_reference``, which needs the data set's artifact each time: in a long run the client forgets it."""
        if uri in self._references:
            artifact.manifest.add_entry(copy.copy(self._references[uri]))
        else:
            (self._references[uri],) = artifact.add_reference(uri, name=name, checksum=False)
        if len(artifact.manifest.entries) % _SLICE == 0:
            time.sleep(_PAUSE_SECONDS)

    def _tell_once(self) -> None:
        if not self._told:
            self._told = True
            rank_zero_info(
                "W&B gets no table of evaluated images, for it does not have the images: turn on upload_dataset, or "
                "train on a wandb-artifact:// data set"
            )


def _add_classes(artifact: Any, class_names: Sequence[str]) -> dict[str, str]:
    """Adds the names of the classes; returns where they are."""
    names = [{"id": label, "name": name} for label, name in class_labels(class_names).items()]
    entry = artifact.add(import_wandb().Classes(names), "media/classes/names")
    return {"path": str(entry.path), "digest": str(entry.digest)}


def _write_elsewhere(request: TableRequest, evaluation: StoredEvaluation) -> dict[str, Any]:
    """Writes the table in a process of its own: in a thread here, training would wait for it between any two steps.

    Raises:
        RuntimeError: If that fails.
    """
    file = Path(request.evaluation)
    evaluation.save(file)
    try:
        process = subprocess.run(  # noqa: S603
            [sys.executable, "-m", _WRITER],
            input=json.dumps(asdict(request)),
            cwd=file.parent,  # it holds no modules that could be taken for others
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in sys.path)},
            capture_output=True,
            text=True,
            timeout=_WRITER_SECONDS,
            check=False,
        )
    finally:
        file.unlink(missing_ok=True)
    if process.returncode != 0:
        raise RuntimeError(process.stderr.strip().rpartition("\n")[2] or f"exit status {process.returncode}")
    counts: dict[str, Any] = json.loads(process.stdout)
    return counts


def _panel_cell(artifact: Any, table: Path, num_rows: int) -> dict[str, Any]:
    """What the client logs for a ``wandb.Table`` that is in an artifact; it would send the table once more for it."""
    content = table.read_bytes()
    return {
        "_type": "table-file",
        "artifact_path": f"wandb-client-artifact://{artifact._client_id}/{_TABLE}",
        "nrows": num_rows,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "log_mode": "IMMUTABLE",
    }
