"""``predictor.stream`` of live sources: results as they come, and nothing left when the caller stops."""

from __future__ import annotations

import gc
import threading
import time
from itertools import islice

import cv2
import pytest

from tests.inference.streams.fakes import FakeCamera, motion_jpeg, picture
from yolo_lightning.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def server():
    with motion_jpeg() as server:
        server.serve = server.steady
        yield server


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert {thread for thread in threading.enumerate() if thread.name.startswith("capture")} <= before


def captures():
    return [thread for thread in threading.enumerate() if thread.name.startswith("capture")]


def test_nothing_is_opened_before_the_first_result(predictor, server):
    results = predictor.stream(server.url)
    time.sleep(0.1)
    assert server.paths == []
    assert captures() == []
    next(results)
    assert len(server.paths) == 2, "asked what it is, and then for the stream"
    results.close()


def test_results_of_a_stream(predictor, server):
    results = predictor.stream(server.url)
    found = list(islice(results, 4))
    assert len(captures()) == 1
    numbers = [each.frames[0].number for each in found]
    assert numbers == sorted(set(numbers))
    assert all(each.frames[0].size == (48, 64) for each in found)
    expected = predictor(found[-1].images[0])
    assert found[-1].xyxy[0].equal(expected.xyxy[0])
    assert len(expected.xyxy[0]) > 0
    results.close()
    assert captures() == []


@pytest.mark.parametrize("how", ["close", "break", "error"])
def test_stops_when_the_caller_stops(how, predictor, server):
    results = predictor.stream(server.url)

    def use(results):
        for _ in results:
            if how == "error":
                raise RuntimeError("in the caller")
            break

    if how == "error":
        with pytest.raises(RuntimeError):
            use(results)
    else:
        use(results)
    if how == "close":
        results.close()
    del results
    gc.collect()
    assert captures() == []


def test_the_newest_frame_is_seen(predictor, server):
    """The caller is slow; thirty frames come in a second."""
    results = predictor.stream(server.url)
    ages = []
    for each in islice(results, 6):
        ages.append(time.monotonic() - each.frames[0].time)
        time.sleep(0.3)
    results.close()
    assert sorted(ages)[3] < 0.3


def test_settings_of_a_stream(predictor, server):
    results = predictor.stream(server.url, confidence_threshold=1.0)
    assert len(next(results).xyxy[0]) == 0
    results.close()


def test_wrong_settings_are_told_at_once(predictor):
    with pytest.raises(TypeError, match="confidence_threshold"):
        predictor.stream("http://127.0.0.1:9/", conf=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        predictor.stream("http://127.0.0.1:9/", iou_threshold=5)


def test_wrong_sources(predictor):
    with pytest.raises(InputError, match=r"missing\.mp4"):
        next(predictor.stream("missing.mp4"))


def test_a_stream_that_is_not_there_is_warned_of(predictor, server):
    server.status = 404
    with pytest.warns(UserWarning, match="there is no video stream"):
        assert list(predictor.stream(server.url)) == []


def test_several_streams_take_turns(predictor, server, tmp_path):
    with motion_jpeg() as other:
        other.serve = other.steady
        (tmp_path / "cameras.streams").write_text(f"{server.url}\n{other.url}\n")
        results = predictor.stream(tmp_path / "cameras.streams")
        sources = [each.frames[0].source for each in islice(results, 12)]
        assert len(captures()) == 2
        results.close()
    assert min(sources.count(name) for name in set(sources)) >= 3
    assert len(set(sources)) == 2


def test_files_come_before_streams_and_all_are_closed(predictor, server, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(80))
    (tmp_path / "list.txt").write_text(f"{server.url}\n{tmp_path / 'a.png'}\n")
    results = predictor.stream(tmp_path / "list.txt")
    assert next(results).files[0] == "a.png"
    assert captures() == [], "the stream is not read yet"
    assert next(results).frames[0].source == server.url
    results.close()


def test_a_camera(predictor, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: FakeCamera(1000))
    results = predictor.stream(0)
    assert next(results).frames[0].source == "camera 0"
    results.close()


def test_the_screen(predictor, display):
    pytest.importorskip("mss")
    results = predictor.stream("screen 1 10 20 100 50")
    assert [each.frames[0].size for each in islice(results, 2)] == [(50, 100)] * 2
    results.close()
