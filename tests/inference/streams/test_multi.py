"""Several live sources at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from tests.inference.streams.fakes import capture_threads, kinds, scripted, ticking
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Frame, Gap, Source
from yolo_lightning.inference.streams import CaptureError, MultiStream, UnavailableError


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert capture_threads() == []


def test_none_is_refused() -> None:
    with pytest.raises(InputError, match="no stream"):
        MultiStream([])


def test_sources_that_do_not_come_by_themselves_are_refused() -> None:
    class Pictures(Source):
        def __iter__(self):
            return iter(())

    with pytest.raises(TypeError, match="only live sources"):
        MultiStream([scripted(["open"]), Pictures()])


def test_all_frames_of_all_sources_in_order() -> None:
    sources = [
        scripted(["open", *range(base, base + count)], description=f"s{base}", policy="all", capacity=3)
        for base, count in ((0, 0), (10, 4), (100, 25))
    ]
    rounds = list(MultiStream(sources))
    assert all(rounds)
    assert all(len({origin for origin, _ in events}) == len(events) for events in rounds)
    for source, values in zip(sources, ([], range(10, 14), range(100, 125)), strict=True):
        assert kinds(event for events in rounds for origin, event in events if origin is source) == [*values]


def test_a_round_has_at_most_one_frame_of_each() -> None:
    sources = [scripted(ticking(fps, 30), description=str(fps)) for fps in (50, 400)]
    rounds = []
    for events in MultiStream(sources):
        time.sleep(0.03)  # a model
        rounds.append([source.description for source, event in events if isinstance(event, Frame)])
    assert all(len(set(names)) == len(names) for names in rounds)
    assert any(len(names) == 2 for names in rounds)
    assert sources[1].num_dropped > 10


def test_a_dead_stream_does_not_stop_the_others() -> None:
    hang = threading.Event()
    lost = CaptureError("lost")
    sources = [
        scripted([UnavailableError("no such camera")], description="never"),
        scripted(["open", 1, lost], description="dies", max_retries=2),
        scripted(["open", 1, hang.wait], description="hangs", stall_timeout=0.2),
        scripted(ticking(50, 60), description="lives", policy="all"),
    ]
    events = []
    for new in MultiStream(sources):
        events += new
        if sources[3].ended:
            hang.set()
    got = {source.description: kinds(event for origin, event in events if origin is source) for source in sources}
    assert got == {"never": [Failure], "dies": [1, Gap, Failure], "hangs": [1, Gap], "lives": list(range(1, 61))}


def test_waits_for_the_first_of_them_only() -> None:
    hang = threading.Event()
    multi = MultiStream(
        [scripted(["open", hang.wait], stall_timeout=60), scripted(["open", 1, hang.wait], stall_timeout=60)]
    )
    rounds = iter(multi)
    assert kinds(event for _, event in next(rounds)) == [1]
    hang.set()
    assert list(rounds) == []


def test_leaving_the_loop_ends_all_threads() -> None:
    sources = [scripted(ticking(200), description=str(index)) for index in range(4)]
    with MultiStream(sources) as multi:
        for _ in multi:
            assert len(capture_threads()) == 4
            break
    assert capture_threads() == []


def test_another_thread_closes_it() -> None:
    multi = MultiStream([scripted(ticking(20), description=str(index)) for index in range(2)])
    threading.Timer(0.3, multi.close).start()
    start = time.monotonic()
    assert sum(len(events) for events in multi) > 0
    assert time.monotonic() - start < 3


def test_waiting_costs_nothing() -> None:
    hang = threading.Event()
    sources = [scripted(["open", lambda: hang.wait(1.0)], stall_timeout=60) for _ in range(3)]
    before = time.process_time()
    assert list(MultiStream(sources)) == []
    assert time.process_time() - before < 0.2


@pytest.mark.parametrize("script", ["ticking(30)", "['open', 1, lambda: time.sleep(0.4), 2, lambda: time.sleep(300)]"])
def test_ctrl_c_ends_the_program_at_once(script: str) -> None:
    program = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from tests.inference.streams.fakes import scripted, ticking
from yolo_lightning.inference.streams import MultiStream
for events in MultiStream([scripted({script}, stall_timeout=60), scripted(ticking(0.01), stall_timeout=60)]):
    print([event.number for _, event in events], flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert process.stdout.readline()
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert errors.rstrip().endswith("KeyboardInterrupt")
