"""What ``study`` does for each network and image size: the evaluation of ``validate``, timed, into a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch
from lightning.pytorch import Trainer

from yolo_lightning.callbacks import EvaluationSpeed
from yolo_lightning.data import DetectionDataModule
from yolo_lightning.data.checks import round_up
from yolo_lightning.errors import InputError
from yolo_lightning.inference.networks import Precision, resolve_device
from yolo_lightning.models import detector_from_weights
from yolo_lightning.module import DetectionModule
from yolo_lightning.ops import NMS
from yolo_lightning.paths import writing_run
from yolo_lightning.plots.study import StudyPoint, draw_study
from yolo_lightning.plots.style import save_figure
from yolo_lightning.tools.evaluation import interruptible, quiet
from yolo_lightning.tools.network_files import network_files
from yolo_lightning.tools.report import print_line, print_table, text_table

__all__ = ["Candidate", "Evaluator", "Row", "StudyFiles", "candidates"]

_PRECISIONS: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}


@dataclass(frozen=True)
class Candidate:
    """A network of the study.

    Args:
        path: The file of its weights.
        label: What it is called.
        sizes: Image sizes in pixels that suit it, ascending.
        note: What is to be said of these.
    """

    path: Path
    label: str
    sizes: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Figures and times of a network at an image size; the columns of ``study.csv`` after the weights.

    Precision, recall and mAP are YOLOv5's; times are milliseconds per image.
    """

    image_size: int
    precision: float
    recall: float
    map_50: float
    map: float
    loss_box: float
    loss_objectness: float
    loss_classification: float
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float

    def text(self) -> str:
        """The row in a line."""
        return f"mAP50-95 {self.map:.3f}, {self.total_ms:.1f} ms per image"


def candidates(weights: Sequence[str], class_names: Sequence[str], sizes: Sequence[int]) -> list[Candidate]:
    """Reads every file once, so that the last one does not fail after hours.

    Raises:
        InputError: If a file cannot be read, or its network has other classes than the data.
    """
    found = []
    for path, label, detector, _ in network_files(weights, len(class_names)):
        stride = detector.strides[-1]
        rounded = {size: round_up(size, stride)[0][0] for size in sizes}
        changed = [f"{size} is {used}" for size, used in rounded.items() if used != size]
        note = f"{label}: sides are multiples of {stride}: {', '.join(changed)}" if changed else ""
        found.append(Candidate(path, label, tuple(sorted(set(rounded.values()))), note))
    return found


class Evaluator:
    """Evaluates networks as ``validate`` does, and takes the time.

    Args:
        data: The data.yaml.
        split: Which images.
        batch_size: Images that go through the network together.
        thresholds: Of confidence, and of the overlap in suppression.
        device: As for ``resolve_device``.
        precision: What the network computes in.
        num_workers: Processes that read images; None takes one for each core.

    Raises:
        InputError: If the data cannot be read, there is no such device, or it does not compute in the precision.
    """

    def __init__(
        self,
        data: Path,
        *,
        split: Literal["train", "val", "test"],
        batch_size: int,
        thresholds: tuple[float, float],
        device: str,
        precision: Precision,
        num_workers: int | None,
    ) -> None:
        where = resolve_device(device)
        if precision == "float16" and where.type == "cpu":
            raise InputError("float16 needs a GPU: on the CPU use bfloat16 or float32")
        try:
            NMS(*thresholds)
        except ValueError as error:
            raise InputError(str(error)) from error
        self._postprocess = partial(NMS, *thresholds)
        self._data = partial(
            DetectionDataModule, data, validate_split=split, eval_batch_size=batch_size, num_workers=num_workers
        )
        images = self._data().dataset(split)
        len(images)  # reads the labels: what is wrong with the data is told before anything is made
        self.class_names = tuple(images.class_names)
        name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
        self.about = f"{split} of {Path(*data.parts[-2:])}, {name}, {precision}, batches of {batch_size}"
        self._speed = EvaluationSpeed(report=False)
        with quiet():
            self._trainer = Trainer(
                accelerator=where.type,
                devices=1 if where.type == "cpu" else [where.index or 0],
                precision=_PRECISIONS[precision],
                callbacks=[self._speed],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )

    def __call__(self, network: Candidate, size: int) -> Row:
        """Evaluates a network at an image size.

        Raises:
            InputError: If the data cannot be used, or the images do not fit into the memory of the GPU.
            KeyboardInterrupt: If Ctrl-C was pressed.
        """
        detector, names = detector_from_weights(network.path)
        module = DetectionModule(names or self.class_names, detector=lambda _: detector, postprocess=self._postprocess)
        data = self._data(image_size=size, stride=detector.strides[-1])
        try:
            with quiet(), interruptible():
                self._trainer.validate(module, datamodule=data, verbose=False)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{network.path} at {size}: the GPU has not the memory: use a smaller --batch-size"
            ) from error
        figures = {name.removeprefix("val/"): float(value) for name, value in self._trainer.callback_metrics.items()}
        speed = self._speed.result
        if speed is None:
            raise InputError(f"{data.path}: none of the images of '{data.validate_split}' could be read")
        return Row(
            size,
            *(figures[name] for name in ("precision", "recall", "yolov5_map_50", "yolov5_map")),
            *(figures[f"loss_{name}"] for name in ("box", "objectness", "classification")),
            *(speed.milliseconds_per_image[name] for name in ("preprocess", "inference", "postprocess", "total")),
        )


class StudyFiles:
    """``study.csv``, row by row, and in the end ``study.png`` and a table of what there is, also after Ctrl-C.

    Args:
        directory: The run directory.
        about: On what it was measured.

    Raises:
        InputError: If a file cannot be written.
    """

    def __init__(self, directory: Path, about: str) -> None:
        self._directory, self._about = directory, about
        self._rows: list[tuple[Candidate, Row]] = []
        with writing_run(directory):
            self._file = (directory / "study.csv").open("x", newline="", encoding="utf-8")
            self._writer = csv.writer(self._file)
            self._writer.writerow(["weights", *(field.name for field in fields(Row))])
            self._file.flush()

    def add(self, network: Candidate, row: Row) -> None:
        """Appends a row.

        Raises:
            InputError: If it cannot be written.
        """
        self._rows.append((network, row))
        with writing_run(self._directory):
            self._writer.writerow([str(network.path), *asdict(row).values()])
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Prints the table and draws the picture."""
        self._file.close()
        if not self._rows:
            return
        print_table(text_table(_COLUMNS, [_cells(network.label, row) for network, row in self._rows]))
        points: dict[str, list[StudyPoint]] = {}
        for network, row in self._rows:
            points.setdefault(network.label, []).append(StudyPoint(row.image_size, row.total_ms, row.map))
        with writing_run(self._directory):
            save_figure(draw_study(points, self._about), self._directory / "study.png")
        print_line(f"{len(self._rows)} rows in {self._directory / 'study.csv'}, drawn in study.png")


_COLUMNS = ("weights", "size", "P", "R", "mAP50", "mAP50-95", "ms/image")


def _cells(label: str, row: Row) -> list[str]:
    figures = (row.precision, row.recall, row.map_50, row.map)
    return [label, str(row.image_size), *(f"{value:.3f}" for value in figures), f"{row.total_ms:.1f}"]
