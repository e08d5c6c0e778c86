"""Reading, computing and writing side by side: nothing is lost, and every thread ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.inference.streams.fakes import motion_jpeg, picture
from yolo_lightning.inference import pipeline
from yolo_lightning.inference.frames import Event, Failure, Frame, Gap, Source
from yolo_lightning.inference.pipeline import Counts, run_pipeline
from yolo_lightning.inference.results import Results
from yolo_lightning.inference.streams import StreamSource
from yolo_lightning.inference.threads import WriteBehind, read_ahead
from yolo_lightning.types import Detections


class Recorded(Source):
    """Yields what it is given, and knows when it was closed."""

    def __init__(self, name: str, events: list[Event | BaseException]) -> None:
        self.name = self.description = name
        self.events, self.closed = events, False
        self.num_frames = sum(isinstance(event, Frame) for event in events)

    def __iter__(self) -> Iterator[Event]:
        for event in self.events:
            if isinstance(event, BaseException):
                raise event
            yield event

    def close(self) -> None:
        self.closed = True


def frames(source: str, count: int, size: tuple[int, int] = (48, 64)) -> list[Event]:
    generator = np.random.default_rng(count)
    return [
        Frame(generator.integers(0, 256, (*size, 3), np.uint8), source, f"{source}.mp4", number)
        for number in range(count)
    ]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def run(predictor, sources, **options):
    written = []
    counts = run_pipeline(predictor, sources, lambda result, source: written.append((source, result)), **options)
    return counts, written


def test_no_sources(predictor):
    counts, written = run(predictor, [])
    assert (counts.num_frames, written) == (0, [])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_all_frames_in_order_with_their_source(predictor, batch_size):
    sources = [Recorded("a", frames("a", 3)), Recorded("empty", []), Recorded("b", frames("b", 7, (64, 32)))]
    counts, written = run(predictor, sources, batch_size=batch_size)
    assert [(source.name, result.frames[0].number) for source, result in written] == [
        *(("a", number) for number in range(3)),
        *(("b", number) for number in range(7)),
    ]
    assert counts.num_frames == 10
    assert counts.num_detections == sum(len(result.detections[0]) for _, result in written) > 0
    assert all(value > 0 for value in counts.seconds.values())
    assert all(source.closed for source in sources)


def test_failures_are_told_in_order_and_stop_nothing(predictor):
    broken = Failure("b.jpg", "is empty")
    a, b = frames("a", 2)
    told = []
    counts, written = run(predictor, [Recorded("a", [a, broken, b])], on_event=told.append)
    assert told == counts.failures == [broken]
    assert [result.frames[0].number for _, result in written] == [0, 1]
    assert counts.num_frames == 2


def test_gaps_are_no_failures(predictor):
    counts, _ = run(predictor, [Recorded("a", [Gap("a", "silence", 0.0), *frames("a", 1)])])
    assert counts.failures == []


def test_an_error_of_a_source_is_raised_and_all_are_closed(predictor):
    sources = [Recorded("a", [*frames("a", 1), RuntimeError("broken source")]), Recorded("b", [])]
    with pytest.raises(RuntimeError, match="broken source"):
        run(predictor, sources)
    assert all(source.closed for source in sources)


def test_an_error_of_the_sink_is_raised(predictor):
    def full(result, source):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run_pipeline(predictor, [Recorded("a", frames("a", 30))], full)


def test_stopped_by_the_caller(predictor):
    source = Recorded("a", frames("a", 50))
    counts, written = run(predictor, [source], on_results=lambda results: results.frames[0].number < 4)
    assert counts.num_frames == len(written) == 5
    assert not counts.interrupted


def test_interrupted(predictor):
    def interrupt(results):
        raise KeyboardInterrupt

    counts, written = run(
        predictor, [Recorded("a", frames("a", 50))], on_results=interrupt, counts=(shared := Counts())
    )
    assert counts is shared
    assert counts.interrupted
    assert len(written) == 1, "what was detected is written"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_all_that_is_counted_is_written_when_it_is_interrupted(predictor, batch_size):
    """The signal comes while the network waits for a slow sink."""
    written = []

    def slow(result, source):
        time.sleep(0.02)
        written.append(result)
        if len(written) == 5:
            signal.raise_signal(signal.SIGTERM)

    counts = run_pipeline(predictor, [Recorded("a", frames("a", 200))], slow, batch_size=batch_size)
    assert counts.interrupted
    assert 5 <= counts.num_frames == len(written) < 100


def test_large_frames_make_small_batches(predictor, monkeypatch):
    monkeypatch.setattr(pipeline, "_BATCH_BYTES", 10_000)  # a frame has 9216
    sizes = []
    run(
        predictor,
        [Recorded("a", frames("a", 6))],
        batch_size=4,
        on_results=lambda results: sizes.append(len(results)) or True,
    )
    assert sizes == [2, 2, 2]


def test_nothing_is_written_after_a_fault():
    written = []

    def write(item):
        if item == 2:
            raise OSError("full")
        written.append(item)

    behind = WriteBehind(write, 10)

    def write_many():
        for number in range(100):
            behind(number)
            time.sleep(0.001)

    with pytest.raises(OSError, match="full"):
        write_many()
    behind.close()
    assert written == [0, 1]


def test_reading_ahead_is_bounded():
    made = []
    ahead = read_ahead((made.append(number) or number for number in range(100)), 3)
    assert next(ahead) == 0
    time.sleep(0.2)
    assert len(made) <= 6
    ahead.close()
    assert len(made) <= 7


def test_writing_behind_is_bounded_and_complete():
    written, gate = [], threading.Event()

    def write(item):
        gate.wait(10)
        written.append(item)

    behind = WriteBehind(write, 2)
    producer = threading.Thread(target=lambda: [behind(number) for number in range(20)])
    producer.start()
    time.sleep(0.1)
    assert producer.is_alive(), "it waits for room"
    gate.set()
    producer.join()
    behind.close()
    assert written == list(range(20))


class SlowPredictor:
    """Takes a fixed time for each batch, as a network does that is slower than the camera."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def prepare(self, frames):
        return frames

    def detect(self, frames):
        time.sleep(self.seconds)
        nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        return Results(frames, [nothing] * len(frames), ["thing"])


@pytest.mark.parametrize("duration", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_results_of_a_fast_stream_stay_new_when_the_network_is_slow(duration):
    model_time = 0.25
    with motion_jpeg() as server:
        server.serve = server.steady
        stream, ages, ends = StreamSource(server.url), [], time.monotonic() + duration

        def on_results(results):
            ages.append(time.monotonic() - results.frames[0].time)
            return time.monotonic() < ends

        written = []
        counts = run_pipeline(
            SlowPredictor(model_time), [stream], lambda result, source: written.append(result), on_results=on_results
        )
    assert counts.num_frames == len(ages) == len(written) >= duration / model_time / 2
    late = sorted(ages)[int(0.95 * len(ages)) :]  # the machine may stop for a moment
    assert late[0] < 2 * model_time
    assert stream.num_dropped > counts.num_frames, "the stream is faster than the network"


def test_live_sources_together_after_those_that_end(predictor):
    """Two streams, one of which is not there, and a file: all frames of the file, then the stream until it fails."""
    with motion_jpeg() as server:

        def three_and_no_more(send):
            server.status = 404
            for _ in range(3):
                send(picture(60))

        server.serve = three_and_no_more
        sources = [
            StreamSource(server.url, policy="all", initial_delay=0.01, max_delay=0.02, max_retries=1),
            Recorded("a", frames("a", 2)),
            StreamSource("http://127.0.0.1:9/none", initial_delay=0.01, max_delay=0.02, max_retries=1),
        ]
        counts, written = run(predictor, sources)
    names = [source.description for source, _ in written]
    assert names[:2] == ["a", "a"]
    assert names[2:] == [sources[0].description] * 3
    assert {failure.source for failure in counts.failures} == {sources[0].description, sources[2].description}
