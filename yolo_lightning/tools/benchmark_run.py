"""What ``benchmark`` does for each network: makes the candidates ready, and measures them by turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from yolo_lightning.data.checks import round_up
from yolo_lightning.errors import InputError
from yolo_lightning.text import first_line
from yolo_lightning.tools.benchmark_candidates import Candidate, Network, Ready, Setting
from yolo_lightning.tools.benchmark_map import Figures, LabelledImages
from yolo_lightning.tools.latency import Latency, Turns, wait_for
from yolo_lightning.tools.network_files import network_files
from yolo_lightning.tools.profiling import Layer, profile_network
from yolo_lightning.tools.report import print_line

__all__ = ["Benchmark", "Row", "failures", "profile_of", "read_networks", "using_threads"]

_WARMUP = 3


@dataclass
class Row:
    """A network run in one way; what was not measured is None.

    Args:
        network: The network.
        candidate: The way.
        num_bytes: Size of the file that is needed.
        prepare_seconds: From the network in memory to its first answer: exporting or compiling, and loading.
        latency: Of one image.
        batch: Of a batch.
        batch_size: Images in it.
        figures: As ``validate`` calls them.
        error: Why it could not run.
    """

    network: Network
    candidate: Candidate
    batch_size: int
    num_bytes: int | None = None
    prepare_seconds: float | None = None
    latency: Latency | None = None
    batch: Latency | None = None
    figures: Figures = field(default_factory=dict)
    error: str = ""

    @property
    def images_per_second(self) -> float | None:
        """With full batches."""
        return None if self.batch is None else 1000 * self.batch_size / self.batch.p50

    @property
    def map(self) -> float | None:
        """YOLOv5's mAP50-95."""
        return self.figures.get("yolov5_map")


def read_networks(weights: Sequence[str], image_size: tuple[int, int], images: LabelledImages | None) -> list[Network]:
    """Reads every file, so that the last one does not fail after hours.

    Raises:
        InputError: If a file cannot be read, its network has other classes than the data, or the size does not suit it.
    """
    networks = []
    for path, label, detector, names in network_files(weights, None if images is None else len(images.class_names)):
        stride = detector.strides[-1]
        up, changed = round_up(image_size, stride)
        if changed is not None:
            raise InputError(
                f"{path}: sides of images must be multiples of {stride}, not {image_size[0]}×{image_size[1]}: "
                f"use --size [{up[0]},{up[1]}]"
            )
        names = names or tuple(f"class{index}" for index in range(detector.num_classes))
        networks.append(Network(path, label, detector.eval(), names))
    return networks


class Benchmark:
    """Measures candidates.

    Args:
        candidates: The ways to run networks.
        device: Where.
        image_size: Height and width of the images in pixels.
        batch_size: Images in a batch, for the throughput.
        seconds: For which each candidate is measured, with single images and with batches.
        images: For mAP, if it is wanted.
        directory: Where exported files lie as long as they are needed.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        device: torch.device,
        image_size: tuple[int, int],
        batch_size: int,
        seconds: float,
        images: LabelledImages | None,
        directory: Path,
    ) -> None:
        self._candidates = candidates
        self._device = device
        self._image_size = image_size
        self._batch_sizes = sorted({1, batch_size})
        self._seconds = seconds
        self._images = images
        self._directory = directory

    def __call__(self, network: Network, rows: list[Row]) -> None:
        """Measures a network.

        Args:
            network: The network.
            rows: Are added to at once, and filled as it goes on, so that Ctrl-C leaves what there is.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed.
        """
        torch._dynamo.reset()  # else it stops compiling after so many networks, without a word
        own = [Row(network, candidate, self._batch_sizes[-1]) for candidate in self._candidates]
        rows += own
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".files-") as folder, torch.inference_mode():
            ready = {row.candidate.name: made for row in own if (made := self._prepare(row, Path(folder)))}
            rows_ready = [row for row in own if not row.error]
            self._measure(rows_ready, ready)
            if self._images is not None:
                self._evaluate([row for row in rows_ready if not row.error], ready, self._images)

    def _prepare(self, row: Row, folder: Path) -> dict[int, Ready] | None:
        """The candidate for each batch size, warmed up; None if it cannot run."""
        title = f"{row.network.label} {row.candidate.name}"
        made: dict[int, Ready] = {}
        try:
            for batch_size in self._batch_sizes:
                own = folder / f"{row.candidate.name}-{batch_size}"
                own.mkdir()
                began = perf_counter()
                with torch.inference_mode(False), torch.no_grad():
                    ready = row.candidate.prepare(
                        row.network,
                        Setting(
                            self._device,
                            self._image_size,
                            batch_size,
                            own,
                            None if self._images is None else self._images.data,
                        ),
                    )
                call = self._call(row.network, ready, batch_size)
                call()
                wait_for(self._device)
                if row.prepare_seconds is None:
                    row.prepare_seconds = perf_counter() - began
                for _ in range(_WARMUP - 1):
                    call()
                made[batch_size] = ready
                row.num_bytes = ready.num_bytes
        except Exception as error:  # runtimes and exporters raise what they like
            row.error = first_line(error)
            print_line(f"{title}: cannot run: {row.error}")
            return None
        print_line(f"{title}: ready after {row.prepare_seconds:.1f} s")
        return made

    def _measure(self, rows: Sequence[Row], ready: dict[str, dict[int, Ready]]) -> None:
        for batch_size in self._batch_sizes:
            calls = {
                row.candidate.name: self._call(row.network, ready[row.candidate.name][batch_size], batch_size)
                for row in rows
                if not row.error
            }
            turns = Turns(calls, self._device)
            try:
                turns.run(self._seconds)
            finally:
                for row in rows:
                    name = row.candidate.name
                    row.error = row.error or turns.errors.get(name, "")
                    if batch_size == 1:
                        row.latency = turns.latency(name)
                    if batch_size == row.batch_size:
                        row.batch = turns.latency(name)

    def _evaluate(self, rows: Sequence[Row], ready: dict[str, dict[int, Ready]], images: LabelledImages) -> None:
        if not rows:
            return
        network = rows[0].network
        print_line(f"{network.label}: mAP on {images.num_images} images")
        batch_size = self._batch_sizes[-1]
        figures, errors = images.evaluate(
            {row.candidate.name: ready[row.candidate.name][batch_size].run for row in rows},
            image_size=self._image_size,
            batch_size=batch_size,
            stride=network.detector.strides[-1],
            device=self._device,
        )
        for row in rows:
            row.figures = figures.get(row.candidate.name, {})
            row.error = row.error or errors.get(row.candidate.name, "")

    def _call(self, network: Network, ready: Ready, batch_size: int) -> Callable[[], tuple[Tensor, Tensor]]:
        images = _noise(network, batch_size, self._image_size).to(self._device)
        return lambda: ready.run(images)


def profile_of(
    network: Network, device: torch.device, image_size: tuple[int, int], depth: int, seconds: float
) -> list[Layer]:
    """The layers of a network, for one image; see :func:`~yolo_lightning.tools.profiling.profile_network`."""
    images = _noise(network, 1, image_size).to(device)
    try:
        return profile_network(network.detector.to(device), images, depth=depth, seconds=seconds)
    finally:
        network.detector.cpu()


def failures(rows: Sequence[Row], floor: float | None) -> bool:
    """Whether a row could not run, or has no more mAP than the floor; tells of the latter."""
    failed = any(row.error for row in rows)
    for row in rows:
        if floor is not None and row.map is not None and row.map <= floor:
            print_line(f"{row.network.label} {row.candidate.name}: mAP50-95 {row.map:.3f} is not above {floor:g}")
            failed = True
    return failed


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Lets PyTorch, and what takes its number, compute with so many threads in the block; None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noise(network: Network, batch_size: int, image_size: tuple[int, int]) -> Tensor:
    shape = (batch_size, network.detector.in_channels, *image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))
