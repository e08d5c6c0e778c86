"""Reads back what a W&B run recorded on disk: its log, and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.artifact_files import artifact_files
from yolo_lightning.weights_and_biases.record_file import read_record_file

__all__ = ["RunLog"]


class RunLog:
    """What one run directory holds, such as ``wandb/offline-run-20260101_120000-<id>``.

    Artifacts are in the log of offline runs only: an online run uploads them without a record. The client writes about
    every 15 seconds, so the log of a run that goes on, or was killed, can lack the last ones.

    Args:
        directory: The run directory.

    Attributes:
        directory: The same.
        path: The log, ``run-<id>.wandb``.
        records: Its records, as protobuf messages of the client.
        torn: Whether it ends inside a record.

    Raises:
        InputError: If the directory has no log, or one that is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        paths = sorted(directory.glob("run-*.wandb"))
        if len(paths) != 1:
            found = ", ".join(path.name for path in paths) or ("none" if directory.is_dir() else "no such directory")
            raise InputError(f"{directory}: expected one run-<id>.wandb, as a W&B run directory has it; found {found}")
        self.path = paths[0]
        self.records, self.torn = read_record_file(self.path)

    def of(self, kind: str) -> list[Any]:
        """The messages of one kind: ``"run"``, ``"history"``, ``"metric"``, ``"files"`` and so on."""
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> pb.RunRecord:
        """The first record of the run: its id, project, entity, display name, tags, group and job type.

        Raises:
            InputError: If the log ends before it.
        """
        runs = self.of("run")
        if not runs:
            raise InputError(f"{self.path}: ends before it says which run it is of; nothing was logged")
        return runs[0]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as it was in the end, without what the client adds."""
        values: dict[str, Any] = {}
        for message in [run.config for run in self.of("run")] + self.of("config"):
            _apply(values, message)
        values.pop("_wandb", None)
        return values

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``run.log``, each with its ``_step``."""
        return [_put({}, row.item) for row in self.of("history")]

    def logged(self, key: str) -> list[Any]:
        """Every value that was logged under one key."""
        return [row[key] for row in self.history if key in row]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary as it was in the end."""
        values: dict[str, Any] = {}
        for message in self.of("summary"):
            _apply(values, message)
        return values

    @property
    def metrics(self) -> dict[str, pb.MetricRecord]:
        """The calls of ``define_metric``, by name of the metric or its pattern."""
        return {metric.name or metric.glob_name: metric for metric in self.of("metric")}

    @property
    def exit_code(self) -> int | None:
        """That of the run; None if it did not end, or was killed."""
        codes = self.of("exit")
        return int(codes[-1].exit_code) if codes else None

    @property
    def finished(self) -> bool:
        """Whether the run came to an end, good or bad, and the log to the end of it."""
        return self.exit_code is not None and not self.torn

    @property
    def console(self) -> str:
        """What the run printed."""
        return "".join(record.line for record in self.of("output_raw"))

    @property
    def artifacts(self) -> list[pb.ArtifactRecord]:
        """The artifacts that were logged: name, type, aliases, metadata as JSON; see also ``artifact_files``."""
        return self.of("artifact")

    def missing_files(self) -> list[Path]:
        """The files that an upload needs and that are no longer there: media, saved files, contents of artifacts.

        Patterns of ``run.save``, which need match nothing, do not count.

        Raises:
            InputError: If the list of the files of an artifact is itself missing or damaged.
        """
        names = [file.path for record in self.of("files") for file in record.files]
        needed = [self.file(name) for name in names if not any(sign in name for sign in "*?[")]
        for artifact in self.artifacts:
            needed += [entry.local_path for entry in artifact_files(artifact).values() if entry.local_path]
        return [path for path in dict.fromkeys(needed) if not path.is_file()]

    def file(self, name: str) -> Path:
        """Path of a file of the run, such as ``media/images/…``; it need not be there."""
        return self.directory / "files" / name

    def images(self, image: dict[str, Any]) -> list[Path]:
        """The files of a logged ``wandb.Image`` or list of them."""
        return [self.file(name) for name in image.get("filenames") or [image["path"]]]

    def boxes(self, image: dict[str, Any]) -> list[dict[str, list[dict[str, Any]]]]:
        """The boxes of a logged ``wandb.Image`` or list of them: for each image, those of each group.

        Raises:
            InputError: If a file with boxes is missing or damaged.
        """
        per_image = image.get("all_boxes") or [image.get("boxes") or {}]
        return [
            {group: _box_data(self.file(reference["path"])) for group, reference in (groups or {}).items()}
            for groups in per_image
        ]


def _box_data(path: Path) -> list[dict[str, Any]]:
    try:
        boxes: list[dict[str, Any]] = json.loads(path.read_bytes())["box_data"]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no file of boxes ({error})") from error
    return boxes


def _put(values: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Sets items; a nested key such as (img, path) gives ``{"img": {"path": …}}``."""
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        at = values
        for key in parents:
            child = at.get(key)
            at[key] = at = child if isinstance(child, dict) else {}
        at[last] = json.loads(item.value_json)
    return values


def _apply(values: dict[str, Any], message: Any) -> None:
    """Sets and removes what a message about the configuration or the summary says."""
    _put(values, message.update)
    for item in message.remove:
        *parents, last = list(item.nested_key) or [item.key]
        at: Any = values
        for key in parents:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(last, None)
