"""What is found in a whole data set, as files in the run directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from yolo_lightning.callbacks.prediction_files import FORMATS, Format, check_format
from yolo_lightning.callbacks.prediction_merge import Expected, Summary, merge_parts, output_names
from yolo_lightning.callbacks.prediction_parts import PartFiles, PartWriter
from yolo_lightning.errors import InputError
from yolo_lightning.types import Batch, Detections

__all__ = ["Predictions"]

_PARTS = "parts"
_BLOCK = 16 * 2**20


class _Part(TypedDict):
    """What a process tells the others of its part."""

    sizes: tuple[int, int]
    unreadable: list[int]


class Predictions(Callback):
    """Writes what ``predict`` finds in a data set, every image exactly once, whatever the number of devices.

    Each process streams its detections to a part of its own in ``parts/``; at the end the first one puts them together
    in the order of the data set, so that the files are the same on one device and on several, and removes the parts.
    Machines that do not share the run directory send theirs. Where an image is missing or there twice, an error names
    it; then, and where a process fails, the parts are kept.

    In the run directory: ``predictions.json`` (``coco``: COCO's result format, with ``images.json``, its ``images`` and
    ``categories``), ``predictions.csv`` and ``predictions.parquet`` (a row for each detection, boxes as xyxy pixels of
    the original image), and ``images.csv``, which lists every image, also those without detections and those that
    could not be read.

    Args:
        formats: Which files: ``coco``, ``csv``, ``parquet``, which needs the extra ``tables``.
        enabled: Whether to write any.

    Raises:
        ValueError: If there is no such format.
    """

    def __init__(self, formats: Sequence[Format] = ("coco", "csv"), enabled: bool = True) -> None:
        if unknown := sorted(set(formats) - set(FORMATS)):
            raise ValueError(f"predictions.formats holds {', '.join(unknown)}; there are {', '.join(FORMATS)}")
        self.formats = tuple(formats)
        self.enabled = enabled
        self.summary: Summary | None = None
        self._directory: Path | None = None
        self._writer: PartWriter | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Finds the run directory and checks, before anything is predicted, that the files can be written.

        Raises:
            InputError: If a library is missing, or a file is there already.
        """
        directory = trainer.log_dir  # a broadcast: every process asks
        self._directory = None
        if stage != "predict" or not self.enabled or directory is None or getattr(trainer, "fast_dev_run", False):
            return
        for name in self.formats:
            check_format(name)
        self._directory = Path(directory)
        for file in (self._directory / name for name in (*output_names(self.formats), _PARTS)):
            if trainer.is_global_zero and file.exists():
                raise InputError(f"{file} exists already: choose another directory")

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begins the part of this process."""
        self.summary = None
        if self._directory is not None:
            if isinstance(trainer.predict_dataloaders, list | tuple | dict):
                raise InputError("predictions can be written of one data loader only: call `predict` for each")
            self._writer = PartWriter(PartFiles.of(self._directory / _PARTS, trainer.global_rank))

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: list[Detections], batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Appends a batch."""
        if self._writer is not None:
            self._writer.add(batch.infos, outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Puts the parts of all processes together.

        Raises:
            InputError: If an image is missing, or there more than once; in every process.
        """
        if self._writer is None or self._directory is None:
            return
        self._writer.close()
        announced = _announce(trainer, self._writer.files)
        parts = _gather_files(trainer, self._directory / _PARTS, self._writer.files, announced)
        outcome: Summary | str | None = None
        if trainer.is_global_zero:
            expected = _expected(trainer, {index for part in announced for index in part["unreadable"]})
            try:
                outcome = merge_parts(parts, self._directory, self.formats, pl_module.class_names, expected)
            except (InputError, OSError) as error:
                outcome = f"{error} (what was found is kept in {self._directory / _PARTS})"
        outcome = trainer.strategy.broadcast(outcome)
        if not isinstance(outcome, Summary):
            raise InputError(str(outcome))
        self.summary = outcome
        _remove([*self._writer.files, *(file for part in parts for file in part)], self._directory)
        _report(outcome)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Says where that is which was found so far."""
        if self._writer is not None and self.summary is None and not isinstance(exception, InputError):
            rank_zero_warn(f"what was predicted so far is kept in {self._writer.files.rows.parent}")

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Closes the part, also after an error."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _announce(trainer: Trainer, files: PartFiles) -> list[_Part]:
    """What each process has."""
    unreadable = getattr(getattr(trainer.predict_dataloaders, "dataset", None), "unreadable", [])
    own: _Part = {"sizes": (files.rows.stat().st_size, files.images.stat().st_size), "unreadable": list(unreadable)}
    if trainer.world_size == 1:
        return [own]
    announced: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(announced, own)
    return announced


def _gather_files(trainer: Trainer, directory: Path, own: PartFiles, announced: Sequence[_Part]) -> list[PartFiles]:
    """The parts of all processes, as the first one sees them; those that it does not see are sent to it."""
    parts = [PartFiles.of(directory, rank) for rank in range(len(announced))]
    hidden = [rank for rank, part in enumerate(announced) if _sizes(parts[rank]) != part["sizes"]]
    for rank in trainer.strategy.broadcast(hidden):
        received = PartFiles(*(directory / f"received-{file.name}" for file in parts[rank]))
        for source, target, size in zip(own, received, announced[rank]["sizes"], strict=True):
            for block in _send(trainer, source, size, rank):
                if trainer.is_global_zero:
                    with target.open("ab") as file:
                        file.write(block)
        if trainer.is_global_zero:
            parts[rank] = received
    return parts if trainer.is_global_zero else []


def _send(trainer: Trainer, source: Path, size: int, rank: int) -> Iterator[bytes]:
    """The blocks of a file of process ``rank``; in every process, as a broadcast is of all."""
    yield b""  # an empty file is a file, too
    for begin in range(0, size, _BLOCK):
        block = b""
        if trainer.global_rank == rank:
            with source.open("rb") as file:
                file.seek(begin)
                block = file.read(_BLOCK)
        yield trainer.strategy.broadcast(block, src=rank)


def _sizes(files: PartFiles) -> tuple[int, int] | None:
    try:
        return files.rows.stat().st_size, files.images.stat().st_size
    except OSError:
        return None


def _expected(trainer: Trainer, unreadable: set[int]) -> Expected:
    """What the data set says of itself; one of a user's own may say nothing."""
    dataset = getattr(trainer.predict_dataloaders, "dataset", None)
    limit = trainer.limit_predict_batches  # 1 is a number of batches, 1.0 is all of them
    path_of, left_out = getattr(dataset, "path", None), getattr(dataset, "left_out", None)
    return Expected(
        paths=None if path_of is None else [path_of(index) for index in range(len(dataset))],  # type: ignore[arg-type]
        unreadable=frozenset(unreadable),
        left_out=[] if left_out is None else [(problem.file, problem.what) for problem in left_out()],
        is_limited=isinstance(limit, int) or limit < 1.0,
    )


def _remove(files: Sequence[Path], directory: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in (directory / _PARTS, directory):
        with suppress(OSError):  # another process still has files there, or the run has
            folder.rmdir()


def _report(summary: Summary) -> None:
    failed = f"; {summary.num_failed} could not be read" if summary.num_failed else ""
    files = ", ".join(str(file) for file in summary.files)
    rank_zero_info(f"{summary.num_detections} detections in {summary.num_images} images{failed}: {files}")
