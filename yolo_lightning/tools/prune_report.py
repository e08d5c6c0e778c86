"""What pruning cost and brought, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from yolo_lightning.errors import InputError
from yolo_lightning.models import detector_from_weights
from yolo_lightning.paths import write_new_file
from yolo_lightning.tools.network_figures import NetworkFigures, measure_networks
from yolo_lightning.tools.report import print_line, print_table, text_table
from yolo_lightning.tools.study_run import Evaluator, Row, candidates

__all__ = ["PruneReport"]


class PruneReport:
    """Measures the networks of two files.

    Args:
        weights: The file before.
        image_size: Side of the images in pixels, a multiple of the network's stride.
        data: The data.yaml to measure mAP on; None leaves mAP out.
        split: Which images of it.
        batch_size: Images that go through the network together, for mAP.
        device: Where mAP is measured.
        num_workers: Processes that read images; None takes one for each core.

    Raises:
        InputError: If the data cannot be read or has other classes than the network, or there is no such device.
    """

    def __init__(
        self,
        weights: Path,
        image_size: int,
        data: Path | None,
        split: Literal["train", "val", "test"],
        batch_size: int,
        device: str,
        num_workers: int | None,
    ) -> None:
        self._weights, self._image_size = weights, image_size
        self._evaluate: Evaluator | None = None
        if data is not None:
            self._evaluate = Evaluator(
                data,
                split=split,
                batch_size=batch_size,
                thresholds=(0.001, 0.6),  # those of `validate`
                device=device,
                precision="float32",
                num_workers=num_workers,
            )
            candidates([str(weights)], self._evaluate.class_names, [image_size])

    def __call__(self, pruned: Path, settings: dict[str, Any], file: Path | None) -> None:
        """Prints the table and writes the JSON.

        Args:
            pruned: The file after.
            settings: What was asked for; goes into the JSON.
            file: The JSON to write, if any.

        Raises:
            InputError: If it cannot be written.
        """
        files = [self._weights, pruned]
        detectors = [detector_from_weights(path)[0] for path in files]
        figures = measure_networks(detectors, files, self._image_size)
        rows = _rows(figures, self._image_size)
        content = [asdict(figure) for figure in figures]
        if self._evaluate is not None:
            networks = candidates([str(path) for path in files], self._evaluate.class_names, [self._image_size])
            accuracy = [self._evaluate(network, self._image_size) for network in networks]
            rows += _accuracy_rows(accuracy)
            for own, row in zip(content, accuracy, strict=True):
                own |= {"map_50": row.map_50, "map": row.map}
            settings = {**settings, "data": self._evaluate.about}
        print_table(text_table(("", "before", "after", "change"), rows))
        if file is not None:
            names = {"weights": str(self._weights), "output": str(pruned), "image_size": self._image_size}
            _write(file, {**names, **settings, "before": content[0], "after": content[1]})


def _write(file: Path, content: dict[str, Any]) -> None:
    try:
        written = write_new_file(file, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error})") from error
    print_line(f"figures: {written}")


def _rows(figures: Sequence[NetworkFigures], image_size: int) -> list[list[str]]:
    first, second = figures
    return [
        _row("parameters, before fusing", first.parameters, second.parameters, ",d"),
        [
            "of them zero",
            f"{first.zeros:.1%}",
            f"{second.zeros:.1%}",
            f"{second.zeros - first.zeros:+.1%}".replace("-0.0", "+0.0"),
        ],
        _row(f"GFLOPs at {image_size} × {image_size}", first.gflops, second.gflops, ".3f"),
        _row("file, MB", first.file_bytes / 1e6, second.file_bytes / 1e6, ".2f"),
        _row("CPU latency, median ms", first.latency_ms, second.latency_ms, ".1f"),
        _row("CPU latency, p95 ms", first.latency_p95_ms, second.latency_p95_ms, ".1f"),
    ]


def _accuracy_rows(rows: Sequence[Row]) -> list[list[str]]:
    first, second = rows
    pairs = {"mAP50": (first.map_50, second.map_50), "mAP50-95": (first.map, second.map)}
    return [[name, f"{was:.3f}", f"{now:.3f}", f"{now - was:+.3f}"] for name, (was, now) in pairs.items()]


def _row(name: str, before: float, after: float, form: str) -> list[str]:
    return [name, f"{before:{form}}", f"{after:{form}}", f"{after / before - 1:+.1%}"]
