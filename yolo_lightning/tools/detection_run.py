"""What ``detect`` does around the network: sources, files, progress, a window, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from yolo_lightning.errors import InputError
from yolo_lightning.inference.features import FeatureRecorder, check_recordable
from yolo_lightning.inference.frames import Failure, Gap, Source
from yolo_lightning.inference.pipeline import Counts, FrameDetector, run_pipeline
from yolo_lightning.inference.predictor import Predictor
from yolo_lightning.inference.results import DrawingOptions, Results
from yolo_lightning.inference.summary import describe_image
from yolo_lightning.inference.writers import Writer
from yolo_lightning.inference.writers.labels import LabelForm, LabelWriter
from yolo_lightning.inference.writers.pictures import CropWriter, PictureWriter
from yolo_lightning.inference.writers.tables import CocoWriter, CsvWriter, JsonWriter
from yolo_lightning.paths import new_run_directory
from yolo_lightning.text import printable
from yolo_lightning.tools.detection_view import DetectionView
from yolo_lightning.tools.report import print_line

__all__ = ["DetectionRun", "Outputs"]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which files to write, and where.

    Args:
        runs: Directory of the run directories.
        name: Name of the run directory; a number is added if it exists.
        save: Pictures and videos.
        txt: Label files.
        txt_confidence: With confidences.
        txt_form: Form of their boxes.
        crops: Objects.
        csv: One table.
        json: One list of pictures.
        coco: One list of detections in COCO's form.
        features: Feature maps.
        drawing: How to draw.
    """

    runs: Path
    name: str
    save: bool = True
    txt: bool = False
    txt_confidence: bool = False
    txt_form: LabelForm = "xywh"
    crops: bool = False
    csv: bool = False
    json: bool = False
    coco: bool = False
    features: bool = False
    drawing: DrawingOptions = field(default_factory=lambda: DrawingOptions())

    def open(self, class_names: Sequence[str]) -> tuple[Path | None, list[Writer]]:
        """Makes the directory, if anything is to be written, and the writers.

        Raises:
            InputError: If that cannot be done.
        """
        makers: list[tuple[bool, Callable[[Path], Writer]]] = [
            (self.save, lambda directory: PictureWriter(directory, self.drawing)),
            (self.txt, lambda directory: LabelWriter(directory, self.txt_confidence, self.txt_form)),
            (self.crops, CropWriter),
            (self.csv, lambda directory: CsvWriter(directory / "detections.csv")),
            (self.json, lambda directory: JsonWriter(directory / "detections.json")),
            (self.coco, lambda directory: CocoWriter(directory / "coco_detections.json", class_names)),
        ]
        if not self.features and not any(wanted for wanted, _ in makers):
            return None, []
        directory = new_run_directory(self.runs, self.name)
        try:
            return directory, [make(directory) for wanted, make in makers if wanted]
        except OSError as error:
            raise InputError(
                f"cannot write to {directory} ({error.strerror or error}): choose another directory with --runs"
            ) from error


class DetectionRun:
    """Detects in sources, writes what was found, and says how it goes.

    Args:
        predictor: Network and settings.
        outputs: What to write.
        batch_size: Frames that go through the network together.
        view: Whether to show a window.
        verbose: Whether to print a line for each image.

    Attributes:
        counts: What the last run did.

    Raises:
        InputError: If feature maps are wanted of a predictor that looks several times at an image.
    """

    def __init__(
        self, predictor: Predictor, outputs: Outputs, *, batch_size: int = 1, view: bool = False, verbose: bool = False
    ) -> None:
        self.predictor, self.outputs = predictor, outputs
        self.batch_size, self.verbose = batch_size, verbose
        self.view = view
        self.counts = Counts()
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        if outputs.features:
            check_recordable(predictor.settings)

    def __call__(self, sources: Sequence[Source]) -> int:
        """Runs.

        Args:
            sources: What to read; they are closed in the end.

        Returns:
            Exit status: 0, or 1 if anything could not be read, or 130 if files were interrupted.
        """
        counts = self.counts = Counts()
        with DetectionView(sources, self.outputs.drawing) if self.view else nullcontext() as view:
            self._write(sources, view, counts)
            if view is not None and not counts.interrupted:
                view.stay()
        if counts.interrupted and not any(source.live for source in sources):
            return 130
        return 1 if counts.failures else 0

    def _write(self, sources: Sequence[Source], view: DetectionView | None, counts: Counts) -> None:
        """Detects and writes, and says what was done when all files are complete."""
        began = perf_counter()
        directory, writers = self.outputs.open(self.predictor.names)
        try:
            with ExitStack() as stack:
                for writer in writers:
                    stack.enter_context(closing(writer))
                predictor: FrameDetector = self.predictor
                if self.outputs.features and directory is not None:
                    predictor = stack.enter_context(FeatureRecorder(self.predictor, directory / "features"))
                progress = stack.enter_context(self._progress())
                self._run(predictor, sources, writers, progress, view, counts)
        except OSError as error:
            raise InputError(f"cannot write to {directory}: {error}") from error
        self._summarize(counts, perf_counter() - began, directory)

    def _run(
        self,
        predictor: FrameDetector,
        sources: Sequence[Source],
        writers: Sequence[Writer],
        progress: Progress,
        view: DetectionView | None,
        counts: Counts,
    ) -> None:
        known = [source.num_frames for source in sources]
        total = None if None in known else sum(number for number in known if number)
        task = progress.add_task("detect", total=total, rate="")
        began = perf_counter()

        def sink(result: Results, source: Source) -> None:
            for writer in writers:
                writer(result, source)

        def on_results(results: Results) -> bool:
            rate = counts.num_frames / max(perf_counter() - began, 1e-6)
            progress.update(task, completed=counts.num_frames, rate=f"{rate:.1f} frames/s")
            if self.verbose:
                for frame, found in zip(results.frames, results.detections, strict=True):
                    print_line(describe_image(frame, found, results.names))
            return view is None or view.show(results)

        run_pipeline(
            predictor,
            sources,
            sink,
            batch_size=self.batch_size,
            on_event=self._report,
            on_results=on_results,
            counts=counts,
        )

    def _report(self, event: Gap | Failure) -> None:
        kind = "gap" if isinstance(event, Gap) else "failed"
        self.console.print(printable(f"{kind}: {event.source}: {event.reason}"), markup=False)

    def _progress(self) -> Progress:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    def _summarize(self, counts: Counts, seconds: float, directory: Path | None) -> None:
        rate = counts.num_frames / max(seconds, 1e-6)
        busy = ", ".join(f"{stage} {value:.2f} s" for stage, value in counts.seconds.items())
        parts = [f"{counts.num_frames} images or frames, {counts.num_detections} detections in {seconds:.1f} s"]
        parts.append(f"{rate:.1f} a second ({busy})")
        if counts.failures:
            parts.append(f"{len(counts.failures)} could not be read")
        if counts.interrupted:
            parts.append("interrupted")
        if directory is not None:
            parts.append(f"results in {directory}")
        print_line("; ".join(parts))
