"""What ``export`` does: one format after the other, with what judges the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.data import SyntheticShapes, YOLODataset
from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.checks import check_positive, round_up
from yolo_lightning.errors import InputError
from yolo_lightning.export import FORMATS, Export, ExportOptions, Format, export_network, find_format
from yolo_lightning.models import Detector, detector_from_weights, resolve_weights
from yolo_lightning.ops import NMS
from yolo_lightning.tools.evaluation import evaluate_network
from yolo_lightning.tools.export_images import CANDIDATES, calibration_batches, clear_images
from yolo_lightning.tools.report import print_line, print_table, text_table

__all__ = ["ExportRun"]

_MOST_DROP = {"float32": 0.002, "float16": 0.002, "int8": 0.05}
_MARKS = {"float32": "", "float16": "-fp16", "int8": "-int8"}
_FIGURE = "yolov5_map"


class ExportRun:
    """Exports one network.

    Args:
        weights: The file.
        options: What is asked for.
        data: Compares mAP, and gives int8 its ranges; None does neither.
        num_calibration: Training images for these.
        max_map_drop: Most mAP that a file may lose.

    Raises:
        InputError: If the weights or the data cannot be read, or a number makes no sense.
    """

    def __init__(
        self,
        weights: str,
        options: ExportOptions,
        *,
        data: Path | None,
        num_calibration: int,
        max_map_drop: float | None,
    ) -> None:
        check_positive(calibration_images=num_calibration)
        if data is None and (options.int8 or max_map_drop is not None):
            asks = "int8 takes its ranges from images" if options.int8 else "max_map_drop compares mAP on images"
            raise InputError(f"{asks}: give --data data.yaml")
        self._path = resolve_weights(weights)
        self._detector, names = detector_from_weights(self._path)
        self._detector.eval()
        if (channels := self._detector.in_channels) != 3:
            raise InputError(
                f"{weights} takes images of {channels} channels; only networks for RGB can be exported here"
            )
        self._names = names or tuple(f"class{index}" for index in range(self._detector.num_classes))
        self._options = options
        self._size, message = round_up(options.image_size, self._detector.strides[-1])
        if message is not None:
            print_line(message)
        self._data = data
        self._num_calibration = num_calibration
        self._max_map_drop = _MOST_DROP[options.precision] if max_map_drop is None else max_map_drop
        self._images = YOLODataset(data, "val") if data is not None else self._shapes()
        if len(self._images.class_names) != len(self._names) and data is not None:
            raise InputError(
                f"the network has {len(self._names)} classes, but {data} has {len(self._images.class_names)}: give the "
                "data that it was trained on"
            )
        self._map: float | None = None

    def __call__(self, formats: str, *, output: Path | None, overwrite: bool) -> int:
        """Exports to formats, separated by commas; 1 if one of them fails, else 0."""
        kinds = _available() if formats == "all" else [find_format(name) for name in formats.split(",")]
        folder = self._path.parent if output is None else output
        rows, failed = [], False
        for kind in kinds:
            path = folder / f"{self._path.stem}{_MARKS[self._options.precision]}{kind.suffix}"
            lost: list[float] = []
            try:
                made = self._export(kind, path, overwrite, lost)
            except InputError as error:
                failed = True
                print_line(f"{kind.name}: {error}")
                continue
            rows.append(_row(made, lost))
        if rows:
            print_table(text_table(("file", "MB", "boxes ±px", "scores ±", "mAP lost"), rows))
            print_line(f"written to {folder}, each with its contract and a golden pair")
        return int(failed)

    def _export(self, kind: Format, path: Path, overwrite: bool, lost: list[float]) -> Export:
        def judge(made: Path) -> None:
            if self._data is not None:
                lost.extend(self._map_drop(kind, made))

        return export_network(
            self._detector,
            self._names,
            kind.name,
            path,
            self._options,
            images=self._golden_images,
            calibration=self._calibration if self._data is not None else None,
            overwrite=overwrite,
            judge=judge,
        )

    def _map_drop(self, kind: Format, made: Path) -> Iterator[float]:
        """How much mAP the file loses, if it can be run here; raises if that is too much."""
        exported = kind.load(made)
        if exported is None:
            return
        if self._map is None:
            self._map = self._evaluate(self._detector)
        found = self._evaluate(exported)
        drop = self._map - found
        if not drop <= self._max_map_drop:
            raise InputError(
                f"the exported file has mAP {found:.4f} on {self._data}, the network {self._map:.4f}: it loses "
                f"{drop:.4f}, more than {self._max_map_drop:g} (--max-map-drop)"
            )
        yield drop

    def _evaluate(self, detector: Detector) -> float:
        assert self._data is not None
        figures = evaluate_network(
            detector,
            self._data,
            image_size=self._size,
            rectangular=self._options.dynamic,
            postprocess=self._postprocess,
        )
        return figures[_FIGURE]

    @property
    def _postprocess(self) -> Callable[[], NMS]:
        """That of ``validate``; where suppression is in the file, the same for the network."""
        if not self._options.nms:
            return NMS
        chosen = self._options.thresholds
        return partial(NMS, chosen.confidence, chosen.iou, chosen.max_detections, multi_label=False)

    def _calibration(self) -> Iterator[npt.NDArray[np.uint8]]:
        assert self._data is not None
        return calibration_batches(self._data, self._num_calibration, self._size, self._options.batch_size)

    @cached_property
    def _golden_images(self) -> Tensor:
        return torch.from_numpy(clear_images(self._detector, self._images, self._options.batch_size, self._size))

    def _shapes(self) -> DetectionDataset:
        number = max(CANDIDATES, self._options.batch_size)
        return SyntheticShapes(split="val", num_val_images=number, image_size=self._size)


def _available() -> list[Format]:
    """All formats whose libraries are there; tells which are left out."""
    kinds = []
    for kind in FORMATS.values():
        try:
            kind.check_libraries()
        except InputError as error:
            print_line(f"{kind.name}: left out: {error}")
        else:
            kinds.append(kind)
    return kinds


def _row(made: Export, lost: list[float]) -> list[str]:
    files = [made.path] if made.path.is_file() else [file for file in made.path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    difference = made.difference
    if difference is None:
        distance = ["not run", "not run"]
    elif not difference.compared:  # of a file that suppresses
        distance = ["no object", "no object"]
    else:
        distance = [f"{difference.box:.3f}", f"{difference.score:.4f}"]
    return [
        made.path.name,
        f"{size:.1f}",
        *distance,
        f"{lost[0]:+.4f}" if lost else "",
    ]
