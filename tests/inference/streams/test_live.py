"""A capture in a thread of its own: policies, outages, shutdown."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from tests.inference.streams.fakes import (
    QUICK,
    ScriptedCapture,
    capture_threads,
    kinds,
    scripted,
    ticking,
)
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Frame, Gap
from yolo_lightning.inference.streams import CaptureError, CorruptFrameError, LiveSource, UnavailableError


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert capture_threads() == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["open"], []),
        (["open", 1], [1]),
        (["open", 1, 2, 3], [1, 2, 3]),
        (["open", 1, CorruptFrameError("torn"), 3], [1, 3]),
        ([UnavailableError("no such thing")], [Failure]),
        (["open", ZeroDivisionError("a fault of the library")], [Failure]),
    ],
)
def test_one_connection(script: list[Any], expected: list[Any]) -> None:
    assert kinds(scripted(script, policy="all")) == expected


def test_frames_say_where_and_when_they_come_from() -> None:
    before = time.monotonic()
    frames = list(scripted(["open", 5, 6], policy="all", name="door", description="the door"))
    assert [(frame.source, frame.name, frame.number) for frame in frames] == [
        ("the door", "door", 0),
        ("the door", "door", 1),
    ]
    assert before <= frames[0].time <= frames[1].time <= time.monotonic()
    assert frames[0].image.shape == (48, 64, 3)


def test_an_outage_is_one_gap_and_numbers_go_on() -> None:
    lost = CaptureError("cable pulled")
    source = scripted(
        ["open", 1, lost], [lost], [lost], ["open", lost], ["open", 2, 3, lost], ["open", 4], policy="all"
    )
    events = list(source)
    assert kinds(events) == [1, Gap, 2, 3, Gap, 4]
    assert [event.number for event in events if isinstance(event, Frame)] == [0, 1, 2, 3]
    assert events[1].reason == "cable pulled"
    assert events[1].source == "a fake"
    assert (source.num_captured, source.num_connections) == (4, 4)


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_gives_up_when_attempts_are_used_up(max_retries: int) -> None:
    connections = []

    def new_capture() -> ScriptedCapture:
        connections.append(
            ScriptedCapture(["open", 1, CaptureError("lost")] if not connections else [CaptureError("refused")])
        )
        return connections[-1]

    source = LiveSource(new_capture, name="x", description="x", max_retries=max_retries, **QUICK)
    events = list(source)
    assert kinds(events) == [1, Gap, Failure]
    assert events[-1].reason.endswith(f"given up after {max_retries} attempts to connect again")
    assert len(connections) == 1 + max_retries
    assert [capture.closed for capture in connections] == [1] * len(connections)


def test_attempts_are_counted_anew_after_a_frame() -> None:
    lost = CaptureError("lost")
    scripts = [["open", number, lost] for number in range(5)]
    assert kinds(scripted(*scripts, max_retries=1, policy="all")) == [0, Gap, 1, Gap, 2, Gap, 3, Gap, 4, Gap, Failure]


def test_unavailable_is_tried_again_once_there_were_frames() -> None:
    source = scripted(["open", 1, CaptureError("lost")], [UnavailableError("404")], ["open", 2], policy="all")
    assert kinds(source) == [1, Gap, 2]


def test_delays_between_attempts_grow_to_a_limit() -> None:
    times = []

    def new_capture() -> ScriptedCapture:
        times.append(time.monotonic())
        return ScriptedCapture([CaptureError("refused")])

    list(LiveSource(new_capture, name="x", description="x", initial_delay=0.05, max_delay=0.2, max_retries=4))
    delays = [after - before for before, after in pairwise(times)]
    assert len(delays) == 4
    assert all(delay >= wanted for delay, wanted in zip(delays, [0.05, 0.1, 0.2, 0.2], strict=True))
    assert delays[3] < 0.4


def test_a_library_that_blocks_is_a_gap_before_it_returns() -> None:
    hang = threading.Event()
    source = scripted(["open", 1, hang.wait, 2], policy="all", stall_timeout=0.1)
    events = iter(source)
    assert isinstance(next(events), Frame)
    gap = next(events)
    assert isinstance(gap, Gap)
    assert gap.reason == "no frame for 0.1 s"
    hang.set()
    assert kinds(events) == [2]


def test_opening_that_blocks_is_a_gap() -> None:
    hang = threading.Event()

    class Slow(ScriptedCapture):
        def open(self) -> None:
            hang.wait()

    events = iter(LiveSource(lambda: Slow([7]), name="x", description="x", stall_timeout=0.1))
    assert isinstance(next(events), Gap)
    hang.set()
    assert kinds(events) == [7]


def test_only_broken_frames_are_an_outage() -> None:
    def broken():
        yield "open"
        yield 1
        while True:
            time.sleep(0.02)
            yield CorruptFrameError("torn")

    source = scripted(broken(), ["open", 2], stall_timeout=0.2, policy="all")
    events = list(source)
    assert kinds(events) == [1, Gap, 2]
    assert source.num_corrupt >= 3


def test_a_slow_reader_is_no_stall() -> None:
    source = scripted(ticking(200, 20), policy="all", capacity=1, stall_timeout=0.1)
    events = []
    for event in source:
        time.sleep(0.15 if len(events) < 3 else 0)
        events.append(event)
    assert kinds(events) == list(range(1, 21))


@pytest.mark.parametrize(
    ("policy", "expected", "num_dropped"), [("latest", [19], 19), ("drop-oldest", [16, 17, 18, 19], 16)]
)
def test_what_a_fast_stream_leaves_out(policy: Any, expected: list[int], num_dropped: int) -> None:
    source = scripted(["open", *range(20)], policy=policy, capacity=4)
    source.start()
    wait_until(lambda: source.ended)
    events = []
    while (event := source.take()) is not None:
        events.append(event)
    assert kinds(events) == expected
    assert [event.number for event in events] == expected
    assert source.num_dropped == num_dropped
    source.close()


def test_gaps_are_never_left_out() -> None:
    lost = CaptureError("lost")
    source = scripted(["open", 1, lost], ["open", 2, lost], ["open", 3], policy="latest")
    source.start()
    wait_until(lambda: source.ended)
    events = []
    while (event := source.take()) is not None:
        events.append(event)
    assert kinds(events) == [Gap, Gap, 3]
    source.close()


def test_all_lets_the_capture_wait() -> None:
    source = scripted(["open", *range(100)], policy="all", capacity=8)
    source.start()
    time.sleep(0.2)
    assert source.num_captured == 9  # eight wait, and the capture has one in its hand
    source.close()


def test_recordings_lose_nothing_whatever_the_policy() -> None:
    source = LiveSource(
        lambda: ScriptedCapture(["open", *range(50)], recorded=True), name="x", description="x", policy="latest"
    )
    events = []
    for event in source:
        time.sleep(0.001)
        events.append(event)
    assert kinds(events) == list(range(50))


@pytest.mark.parametrize("stride", [1, 2, 7])
def test_stride(stride: int) -> None:
    source = LiveSource(
        lambda: ScriptedCapture(["open", *range(30)], fps=30), name="x", description="x", policy="all", stride=stride
    )
    frames = list(source)
    assert [frame.number for frame in frames] == list(range(0, 30, stride))
    assert source.fps == pytest.approx(30 / stride)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("policy", "newest"),
        ("stride", 0),
        ("capacity", 0),
        ("stall_timeout", 0.0),
        ("initial_delay", -1.0),
        ("max_delay", 0.001),
        ("max_retries", -1),
    ],
)
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        scripted(["open"], **{option: value})


def test_is_read_once() -> None:
    source = scripted(["open", 1])
    assert kinds(source) == [1]
    with pytest.raises(RuntimeError, match="make a new source"):
        next(iter(source))


@pytest.mark.parametrize("policy", ["latest", "all", "drop-oldest"])
def test_leaving_the_loop_ends_the_thread(policy: Any) -> None:
    source = scripted(ticking(500), policy=policy, capacity=2)
    for event in source:
        assert capture_threads() == ["capture a fake"]
        if event.number > 5:
            break
    source.close()
    assert capture_threads() == []
    source.close()


def test_another_thread_stops_it_while_it_waits_for_a_frame() -> None:
    release = threading.Event()
    source = scripted(["open", 1, lambda: release.wait(0.5), 2], stall_timeout=60)
    threading.Timer(0.1, source.stop).start()
    start = time.monotonic()
    assert kinds(source) == [1]
    assert time.monotonic() - start < 2


def test_stops_while_it_waits_to_connect_again() -> None:
    source = scripted(initial_delay=60, max_delay=60)
    events = iter(source)
    assert isinstance(next(events), Gap)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 1
    assert list(events) == []


def test_closing_does_not_wait_for_a_library_that_blocks() -> None:
    hang = threading.Event()
    source = scripted(["open", 1, hang.wait, 2], policy="all")
    assert kinds([next(iter(source))]) == [1]
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 4
    hang.set()
    wait_until(lambda: capture_threads() == [])


def test_waiting_costs_nothing() -> None:
    hang = threading.Event()
    source = scripted(["open", lambda: hang.wait(1.0)], stall_timeout=60)
    before = time.process_time()
    assert list(source) == []
    assert time.process_time() - before < 0.2  # a busy loop would take all of the second


@pytest.mark.parametrize(
    ("seconds", "bound"), [(3, 4), pytest.param(60, 2, marks=pytest.mark.slow)], ids=["short", "minute"]
)
def test_newest_result_is_young_however_slow_the_model(seconds: float, bound: float) -> None:
    model_time = 0.15
    source = scripted(ticking(60), policy="latest")
    end, ages = time.monotonic() + seconds, []
    for event in source:
        assert isinstance(event, Frame)
        time.sleep(model_time)
        ages.append(time.monotonic() - event.time)
        if time.monotonic() > end:
            break
    source.close()
    assert len(ages) > 0.5 * seconds / model_time
    assert max(ages) < bound * model_time
    assert source.num_dropped > 10


def wait_until(happened: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
