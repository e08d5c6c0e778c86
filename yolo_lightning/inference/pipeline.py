"""Sources through a predictor to a sink, with reading, computing and writing side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from yolo_lightning.inference.frames import Failure, Frame, Gap, Source
from yolo_lightning.inference.interrupt import Interrupt
from yolo_lightning.inference.preprocess import PreparedFrames
from yolo_lightning.inference.results import Results
from yolo_lightning.inference.threads import WriteBehind, read_ahead

__all__ = ["Counts", "FrameDetector", "Sink", "run_pipeline"]

_STAGES = ("read", "preprocess", "inference", "postprocess", "write")
_BATCHES_AHEAD = 2
_BATCHES_BEHIND = 4
_BATCH_BYTES = 128 * 2**20  # of images, so that batches of large ones do not fill the memory

Sink = Callable[[Results, Source], None]
"""Takes the result of one frame and the source that it is of; called in a thread of its own, in order."""


class FrameDetector(Protocol):
    """A :class:`~yolo_lightning.inference.predictor.Predictor`, or what stands in for one."""

    def prepare(self, frames: Sequence[Frame]) -> PreparedFrames:
        """Makes frames ready for the network; called in a thread of its own."""

    def detect(self, prepared: PreparedFrames) -> Results:
        """Detects in prepared frames."""


@dataclass
class Counts:
    """What a run did, and for how long each stage was busy.

    Args:
        num_frames: Frames detected in.
        num_detections: Detections in all frames.
        failures: What could not be read.
        seconds: Busy time of the stages read, preprocess, inference, postprocess and write, which overlap.
        interrupted: Whether Ctrl-C ended the run.
    """

    num_frames: int = 0
    num_detections: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STAGES, 0.0))
    interrupted: bool = False


@dataclass(frozen=True)
class _Batch:
    """Frames that go through the network together, the source of each, and what went wrong before them."""

    prepared: PreparedFrames | None
    sources: list[Source]
    events: list[Gap | Failure]


def run_pipeline(
    predictor: FrameDetector,
    sources: Sequence[Source],
    sink: Sink,
    *,
    batch_size: int = 1,
    on_event: Callable[[Gap | Failure], None] = lambda event: None,
    on_results: Callable[[Results], bool] = lambda results: True,
    counts: Counts | None = None,
) -> Counts:
    """Detects in all frames of sources.

    Sources that end are read one after the other, ahead of the network; then live ones all at once, each frame as it
    comes. What goes wrong with one source does not stop the others. Ctrl-C and SIGTERM end reading; what was detected
    by then is still written.

    Args:
        predictor: Network and settings.
        sources: What to read; all of them are closed in the end.
        sink: Takes the results, one frame at a time.
        batch_size: Frames of sources that end that go through the network together, at most; fewer if they are large.
        on_event: Is told of gaps and failures, in order with the frames.
        on_results: Is told of the results of each batch; False ends the run.
        counts: Is filled, for who wants to watch it.

    Returns:
        What was done.

    Raises:
        OSError: If the sink cannot write.
    """
    counts = Counts() if counts is None else counts
    try:
        with Interrupt() as interrupt, closing(WriteBehind(_timed(sink, counts), _BATCHES_BEHIND)) as writer:
            for batch in _until_interrupted(_batches(predictor, sources, batch_size, counts), interrupt):
                for event in batch.events:
                    if isinstance(event, Failure):
                        counts.failures.append(event)
                    on_event(event)
                if batch.prepared is not None and not _detect(predictor, batch, writer, on_results, counts):
                    break
    except KeyboardInterrupt:
        counts.interrupted = True
    finally:
        for source in sources:
            source.close()
    return counts


def _detect(
    predictor: FrameDetector,
    batch: _Batch,
    writer: WriteBehind[tuple[Results, list[Source]]],
    on_results: Callable[[Results], bool],
    counts: Counts,
) -> bool:
    assert batch.prepared is not None
    results = predictor.detect(batch.prepared)
    counts.num_frames += len(results)
    for stage, milliseconds in (results.speed or {}).items():
        counts.seconds[stage] += milliseconds * len(results) / 1000
    counts.num_detections += sum(len(found) for found in results.detections)
    writer((results, batch.sources))
    return on_results(results)


def _until_interrupted(batches: Generator[_Batch], interrupt: Interrupt) -> Iterator[_Batch]:
    with closing(batches):
        while True:
            with interrupt.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def _timed(sink: Sink, counts: Counts) -> Callable[[tuple[Results, list[Source]]], None]:
    def write(item: tuple[Results, list[Source]]) -> None:
        began = perf_counter()
        for result, source in zip(*item, strict=True):
            sink(result, source)
        counts.seconds["write"] += perf_counter() - began

    return write


def _batches(predictor: FrameDetector, sources: Sequence[Source], batch_size: int, counts: Counts) -> Generator[_Batch]:
    ending = [source for source in sources if not source.live]
    live = [source for source in sources if source.live]
    with closing(read_ahead(_read(predictor, ending, batch_size, counts), _BATCHES_AHEAD)) as batches:
        yield from batches
    if live:
        yield from _read_live(predictor, live)


def _read(predictor: FrameDetector, sources: Iterable[Source], batch_size: int, counts: Counts) -> Generator[_Batch]:
    """Batches of one source after the other; runs ahead in a thread."""
    for source in sources:
        frames: list[Frame] = []
        events: list[Gap | Failure] = []
        began = perf_counter()
        for event in source:
            if isinstance(event, Frame):
                frames.append(event)
            else:
                events.append(event)
            if len(frames) == batch_size or not frames or sum(frame.image.nbytes for frame in frames) > _BATCH_BYTES:
                counts.seconds["read"] += perf_counter() - began
                yield _batch(predictor, frames, [source] * len(frames), events)
                frames, events = [], []
                began = perf_counter()
        counts.seconds["read"] += perf_counter() - began
        yield _batch(predictor, frames, [source] * len(frames), events)
        source.close()


def _read_live(predictor: FrameDetector, sources: Sequence[Source]) -> Iterator[_Batch]:
    """Batches of what each source has new, prepared when the network is free, so that they are never old."""
    from yolo_lightning.inference.streams import MultiStream

    with MultiStream(sources) as rounds:
        for events in rounds:
            frames = [(source, event) for source, event in events if isinstance(event, Frame)]
            others = [event for _, event in events if not isinstance(event, Frame)]
            yield _batch(predictor, [frame for _, frame in frames], [source for source, _ in frames], others)


def _batch(predictor: FrameDetector, frames: list[Frame], sources: list[Source], events: list[Gap | Failure]) -> _Batch:
    return _Batch(predictor.prepare(frames) if frames else None, sources, events)
