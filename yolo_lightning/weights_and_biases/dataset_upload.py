"""Uploading a data set in a run of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress

from yolo_lightning.artifacts import ARTIFACT_PREFIX, pinned_address
from yolo_lightning.data import YOLODataset
from yolo_lightning.errors import InputError
from yolo_lightning.paths import new_run_directory
from yolo_lightning.weights_and_biases.artifact_entries import describe_artifact
from yolo_lightning.weights_and_biases.client import is_reachable, when_logged
from yolo_lightning.weights_and_biases.dataset_artifact import (
    DATA_FILE,
    DatasetArtifact,
    build_dataset_artifact,
)
from yolo_lightning.weights_and_biases.ledger import Entry
from yolo_lightning.weights_and_biases.logger import RunWandbLogger

__all__ = ["UploadedDataset", "upload_dataset"]

_COMMAND = "dataset"
_LOOK_SECONDS = 10.0
_SILENT_SECONDS = 120.0


@dataclass(frozen=True)
class UploadedDataset:
    """A data set that W&B has.

    Args:
        address: Of this version, ``wandb-artifact://entity/project/name:v3``.
        is_new: Whether the version was made by this upload.
        directory: Holds a ``data.yaml`` that names it.
    """

    address: str
    is_new: bool
    directory: Path


def upload_dataset(
    splits: Mapping[str, YOLODataset], name: str, *, runs: Path, project: str, entity: str | None = None
) -> UploadedDataset | Path:
    """Uploads a data set, in a run of the kind ``dataset-upload``.

    Args:
        splits: Images and labels by split; of one ``data.yaml``.
        name: Name of the artifact.
        runs: Directory for the run directory.
        project: Project at W&B.
        entity: User or team; None takes the default of the account.

    Returns:
        The uploaded data set; where W&B is offline or does not answer, the run directory in which it is recorded.

    Raises:
        InputError: If W&B refuses it, or stops answering, or a file cannot be read.
    """
    directory = new_run_directory(runs, _COMMAND)
    logger = RunWandbLogger(project=project, entity=entity, job_type="dataset-upload")
    try:
        logger.prepare(directory, _COMMAND)
        result = _upload(logger, splits, name)
    except BaseException:
        logger.finalize("failed")
        with suppress(OSError):  # it holds something
            directory.rmdir()
        raise
    logger.finalize("success")
    return result


def _upload(logger: RunWandbLogger, splits: Mapping[str, YOLODataset], name: str) -> UploadedDataset | Path:
    if logger.uploader is None:
        raise InputError("W&B is switched off (WANDB_MODE=disabled): a data set is uploaded online, or offline first")
    built = _build(splits, name)
    if not logger.uploader.online:
        entry = Entry("log", built.artifact.name, "dataset", ("latest",))
        logger.uploader.send(describe_artifact(entry, built.artifact), built.artifact)
        return logger.directory
    logged = _send(logger.experiment, built.artifact)
    made_by = logged.logged_by()
    address = f"{ARTIFACT_PREFIX}{pinned_address(logged)}"
    class_names = next(iter(splits.values())).class_names
    _write_yaml(logger.directory / DATA_FILE, {"path": address, **built.entries, "names": dict(enumerate(class_names))})
    return UploadedDataset(address, made_by is None or made_by.id == logger.experiment.id, logger.directory)


def _build(splits: Mapping[str, YOLODataset], name: str) -> DatasetArtifact:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(
            "Reading images", total=2 * sum(dataset.index.num_files for dataset in splits.values())
        )
        return build_dataset_artifact(splits, name, lambda: progress.advance(task))


def _send(run: Any, artifact: Any) -> Any:
    """The artifact as W&B has it."""
    try:
        logged = when_logged(run.log_artifact(artifact))
        heard = time.monotonic()
        while not wait([logged], timeout=_LOOK_SECONDS).done:
            if is_reachable(run.settings.base_url):
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_SECONDS:
                raise TimeoutError("it does not answer any more")
        return logged.result()
    except Exception as error:  # the client passes on those of several libraries
        raise InputError(
            f"W&B does not take the data set ({error}): run the command again; what has been sent is not sent again"
        ) from error


def _write_yaml(file: Path, content: Mapping[str, Any]) -> None:
    try:
        file.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{content['path']} is uploaded, but {file} cannot be written: {error}") from error
