"""What ``benchmark`` leaves: a table, ``benchmark.csv``, ``benchmark.png`` and ``profile.csv``."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from yolo_lightning.paths import replacing, writing_run
from yolo_lightning.plots.benchmark import BenchmarkPoint, draw_benchmark
from yolo_lightning.plots.style import save_figure
from yolo_lightning.tools.benchmark_candidates import Network
from yolo_lightning.tools.benchmark_run import Row
from yolo_lightning.tools.profiling import Layer
from yolo_lightning.tools.report import print_line, print_table, text_table

__all__ = ["BenchmarkFiles", "Conditions"]

Cell = str | int | float | None

_COLUMNS = (
    *("weights", "candidate", "device", "threads", "height", "width", "file_mb", "prepare_s"),
    *("latency_p50_ms", "latency_p95_ms", "latency_calls"),
    *("batch_size", "batch_p50_ms", "batch_p95_ms", "batch_calls", "images_per_second"),
    *("precision", "recall", "map_50", "map", "error"),
)
_LAYER_COLUMNS = ("weights", "layer", "kind", "depth", "parameters", "flops", "ms", "fused_ms")


@dataclass(frozen=True)
class Conditions:
    """Under which the times were taken.

    Args:
        device: Name of the processor.
        threads: That each candidate computes with on a CPU.
        image_size: Height and width of the images in pixels.
        data: What mAP is of; empty if it was not measured.
    """

    device: str
    threads: int
    image_size: tuple[int, int]
    data: str = ""

    @classmethod
    def here(cls, device: torch.device, image_size: tuple[int, int], data: str = "") -> Self:
        """Those of this process."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return cls(name, torch.get_num_threads(), image_size, data)

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        parts = [f"{self.image_size[0]}×{self.image_size[1]} pixels", self.device, threads]
        return ", ".join([*parts, self.data] if self.data else parts)


class BenchmarkFiles:
    """Writes the rows that are there whenever it is told to, and when the block ends, also after Ctrl-C.

    Args:
        directory: The run directory.
        conditions: Under which it is measured.

    Attributes:
        rows: The rows so far.
    """

    def __init__(self, directory: Path, conditions: Conditions) -> None:
        self._directory, self._conditions = directory, conditions
        self._layers: list[list[Cell]] = []
        self.rows: list[Row] = []

    def write(self) -> None:
        """Writes ``benchmark.csv``, if there are rows.

        Raises:
            InputError: If it cannot be written.
        """
        if self._measured:
            self._write("benchmark.csv", _COLUMNS, (self._cells(row) for row in self._measured))

    def add_profile(self, network: Network, layers: Sequence[Layer]) -> None:
        """Prints the layers of a network, and writes ``profile.csv``.

        Raises:
            InputError: If it cannot be written.
        """
        whole = layers[0]
        names = {layer.name for layer in layers if layer.name}
        rows = [
            [
                f"{'  ' * layer.depth}{_name_within(layer.name, names) or network.label}",
                f"{layer.parameters:,}",
                f"{layer.flops / 1e9:.3f}",
                f"{layer.milliseconds:.2f}",
                f"{layer.fused_milliseconds:.2f}",
                f"{100 * layer.fused_milliseconds / whole.fused_milliseconds:.0f}%",
            ]
            for layer in layers
        ]
        print_table(text_table(("layer", "parameters", "GFLOPs", "ms", "fused ms", "of fused"), rows))
        self._layers += [[str(network.path), *vars(layer).values()] for layer in layers]
        self._write("profile.csv", _LAYER_COLUMNS, self._layers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Prints the table and draws the picture."""
        rows = self._measured
        if not rows:
            return
        self.write()
        self._print(rows)
        points = [
            BenchmarkPoint(row.network.label, row.candidate.name, row.latency.p50, row.latency.p95, row.map)
            for row in rows
            if row.latency is not None
        ]
        if points:
            with writing_run(self._directory):
                save_figure(draw_benchmark(points, str(self._conditions)), self._directory / "benchmark.png")
        drawn = ", drawn in benchmark.png" if points else ""
        print_line(f"{len(rows)} rows in {self._directory / 'benchmark.csv'}{drawn}")

    @property
    def _measured(self) -> list[Row]:
        """Rows that say something; after Ctrl-C some do not."""
        return [row for row in self.rows if row.latency is not None or row.error]

    def _print(self, rows: Sequence[Row]) -> None:
        several = len({row.network.path for row in rows}) > 1
        has_map = any(row.map is not None for row in rows)
        columns = ["run by", *["weights"] * several, "MB", "p50 ms", "p95 ms", f"images/s at {rows[0].batch_size}"]
        cells = [
            [
                row.candidate.name,
                *[row.network.label] * several,
                _text(row.num_bytes and row.num_bytes / 1e6, 1),
                _text(row.latency.p50 if row.latency else None, 2),
                _text(row.latency.p95 if row.latency else None, 2),
                _text(row.images_per_second, 1),
                *[_text(row.figures.get("yolov5_map_50"), 3), _text(row.map, 3)] * has_map,
            ]
            for row in rows
        ]
        print_table(text_table([*columns, *["mAP50", "mAP50-95"] * has_map], cells, str(self._conditions)))
        for row in rows:
            if row.error:
                print_line(f"{row.network.label} {row.candidate.name}: cannot run: {row.error}")

    def _cells(self, row: Row) -> list[Cell]:
        latency, batch, figures = row.latency, row.batch, row.figures
        return [
            *(str(row.network.path), row.candidate.name, self._conditions.device, self._conditions.threads),
            *self._conditions.image_size,
            *(row.num_bytes and row.num_bytes / 1e6, row.prepare_seconds),
            *((latency.p50, latency.p95, latency.num_calls) if latency else (None,) * 3),
            row.batch_size,
            *((batch.p50, batch.p95, batch.num_calls) if batch else (None,) * 3),
            row.images_per_second,
            *(figures.get(name) for name in ("precision", "recall", "yolov5_map_50", "yolov5_map")),
            row.error,
        ]

    def _write(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        with (
            writing_run(self._directory),
            replacing(self._directory / name) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)


def _name_within(name: str, others: Collection[str]) -> str:
    """Name of a layer without that of the layer that it is in."""
    parents = [other for other in others if name.startswith(f"{other}.")]
    return name.removeprefix(f"{max(parents, key=len)}.") if parents else name


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
