"""Streams over the network: real servers that stall, drop and return."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.streams.fakes import MotionJPEG, capture_threads, kinds, motion_jpeg, picture, value_of
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Failure, Frame, Gap
from yolo_lightning.inference.streams import MultiStream, StreamSource

av = pytest.importorskip("av")
QUICK: dict[str, Any] = {"initial_delay": 0.05, "max_delay": 0.1, "stall_timeout": 1.0, "open_timeout": 2.0}


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert capture_threads() == []


@pytest.fixture
def server() -> Iterator[MotionJPEG]:
    with motion_jpeg() as behaviour:
        yield behaviour


def take(source: StreamSource, count: int) -> list[Event]:
    events = []
    for event in source:
        events.append(event)
        if len(events) == count:
            break
    source.close()
    return events


def test_frames_of_a_stream(server: MotionJPEG) -> None:
    server.serve = server.steady
    events = take(StreamSource(server.url, policy="all", **QUICK), 20)
    values = [value_of(event) for event in events]
    assert values == list(range(values[0], values[0] + 20))  # none is missing
    assert values[0] <= 2
    assert {event.size for event in events} == {(48, 64)}
    assert [event.number for event in events] == list(range(20))
    assert {event.name for event in events} == {f"127_0_0_1_{server.url.rpartition(':')[2].replace('/', '_')}"}
    ages = [time.monotonic() - event.time for event in events]
    assert 0 < ages[-1] < ages[0] < 10


def test_colours_are_rgb(server: MotionJPEG) -> None:
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[..., 2] = 255
    server.serve = lambda send: [send(bgr) for _ in range(30)]
    frame = take(StreamSource(server.url, **QUICK), 1)[0]
    assert frame.image[24, 32].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_stalls_drops_and_returns(server: MotionJPEG) -> None:
    visits = iter(range(10))

    def serve(send) -> None:
        visit = next(visits)
        for index in range(15):
            send(picture(50 * visit + index))
            time.sleep(0.01)
        if visit == 0:
            server.done.wait(3)  # stalls; further ones end the connection

    server.serve = serve
    events = []
    for event in StreamSource(server.url, policy="all", **QUICK):
        events.append(event)
        if sum(isinstance(event, Gap) for event in events) == 3:
            break
    gaps = [event.reason for event in events if isinstance(event, Gap)]
    assert gaps[0] in ("no data for 1 s", "no frame for 1 s")
    assert set(gaps[1:]) <= {"the server ended the stream", "the connection was lost"}
    values = [value_of(event) for event in events if isinstance(event, Frame)]
    assert len(values) >= 40
    assert {value // 50 for value in values} == {0, 1, 2}
    assert len(server.paths) == 3


def test_a_server_that_is_away_for_a_while() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = StreamSource(f"http://127.0.0.1:{port}/video", **(QUICK | {"max_retries": None}))
    events = iter(source)
    gap = next(events)
    assert isinstance(gap, Gap)
    assert "refused" in gap.reason
    with motion_jpeg(port) as server:
        server.serve = server.steady
        assert isinstance(next(events), Frame)
        source.close()


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "there is no video stream"), (401, "check user and password"), (403, "access denied")]
)
def test_refused_at_once(server: MotionJPEG, status: int, reason: str) -> None:
    server.status = status
    events = list(StreamSource(server.url, **QUICK))
    assert kinds(events) == [Failure]
    assert reason in events[0].reason
    assert len(server.paths) == 1


def test_a_server_in_trouble_is_asked_again(server: MotionJPEG) -> None:
    server.status = 503
    events = list(StreamSource(server.url, max_retries=2, **QUICK))
    assert kinds(events) == [Gap, Failure]
    assert len(server.paths) == 3


def test_secrets_are_sent_but_never_shown(server: MotionJPEG) -> None:
    server.status = 401
    address = server.url.replace("http://", "http://admin:hunter2@") + "?channel=3&token=s3cr3t"
    source = StreamSource(address, **QUICK)
    failure = next(iter(source))
    path, authorization = server.paths[0]
    assert path == "/video?channel=3&token=s3cr3t"
    assert authorization is None or authorization.startswith("Basic ")
    shown = f"{source.description} {source.name} {failure} {threading.enumerate()}"
    assert "hunter2" not in shown
    assert "s3cr3t" not in shown
    assert "channel=3" in source.description


def test_password_opens_the_stream(server: MotionJPEG) -> None:
    server.serve = server.steady
    source = StreamSource(server.url.replace("http://", "http://admin:hunter2@"), **QUICK)
    assert isinstance(take(source, 1)[0], Frame)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "camera",
        "ftp://host/video",
        "file:///etc/passwd",
        "concat:http://a/b|file:///etc/passwd",
        "http://",
        "rtsp:///path",
        "http://[::1/video",
        "http://host:99999/video",
    ],
)
def test_other_addresses(address: str) -> None:
    with pytest.raises(InputError, match="is no address of the form http://…, https://…, rtsp://…, rtmp://…"):
        StreamSource(address)


def test_messages_on_bad_addresses_hold_no_password() -> None:
    with pytest.raises(InputError) as error:
        StreamSource("ftp://me:hunter2@host/video")
    assert "hunter2" not in str(error.value)


def test_broken_pictures_are_left_out(server: MotionJPEG) -> None:
    def serve(send) -> None:
        for index in range(60):
            send(picture(index), broken=index % 4 == 3)
            time.sleep(0.01)

    server.serve = serve
    source = StreamSource(server.url, policy="all", **QUICK)
    values = [value_of(event) for event in take(source, 20)]
    assert not any(value % 4 == 3 for value in values)
    assert source.num_corrupt >= 5


def test_stops_at_once_while_the_stream_runs(server: MotionJPEG) -> None:
    server.serve = server.steady
    source = StreamSource(server.url, **QUICK)
    events = iter(source)
    next(events)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 1.5
    assert list(events) == []


def test_ends_with_the_limit_of_the_library_while_it_stalls(server: MotionJPEG) -> None:
    server.serve = lambda send: (send(picture(1)), send(picture(2)), server.done.wait(20))
    source = StreamSource(server.url, **QUICK)
    events = iter(source)
    next(events)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 2
    assert capture_threads() == []


def test_two_streams_of_which_one_dies(server: MotionJPEG) -> None:
    server.serve = server.steady
    with motion_jpeg() as other:
        other.serve = lambda send: [send(picture(7)) for _ in range(5)]
        sources = [
            StreamSource(server.url, policy="all", **QUICK),
            StreamSource(other.url, policy="all", max_retries=1, **QUICK),
        ]
        with MultiStream(sources) as multi:
            events = []
            for new in multi:
                other.status = 404
                events += new
                if any(isinstance(event, Failure) for _, event in events) and len(events) > 60:
                    break
    dead = [event for source, event in events if source is sources[1]]
    assert kinds(dead)[-2:] == [Gap, Failure]
    assert set(kinds(dead)[:-2]) == {7}
    assert sum(isinstance(event, Frame) for source, event in events if source is sources[0]) > 30


@pytest.mark.parametrize(("seconds", "bound"), [(3, 4), pytest.param(60, 2, marks=pytest.mark.slow)])
def test_newest_result_is_young(server: MotionJPEG, seconds: float, bound: float) -> None:
    model_time = 0.2
    server.serve = server.steady
    ages, end = [], time.monotonic() + seconds
    sent_at: list[float] = []
    for event in StreamSource(server.url, **(QUICK | {"stall_timeout": 5.0})):
        assert isinstance(event, Frame)
        sent_at.append(value_of(event))
        time.sleep(model_time)
        ages.append(time.monotonic() - event.time)
        if time.monotonic() > end:
            break
    assert max(ages) < bound * model_time
    steps = np.diff(sent_at) % 199  # thirty a second come, five are read: no more than that may lie between
    assert np.median(steps) == pytest.approx(30 * model_time, abs=2)


def video(folder: Path, num_frames: int, rate: int = 25) -> bytes:
    """An MP4 whose frames are ever brighter, with a key frame every ten."""
    file = folder / "video.mp4"
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "10", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            noise = np.random.default_rng(index).integers(0, 4, (48, 64, 1), np.uint8)  # so that it has some size
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(2 * index + 10) + noise, "rgb24")))
        container.mux(stream.encode())
    return file.read_bytes()


class Files:
    """What a server of files gives.

    Attributes:
        content: Of each path.
        cut: How many bytes the first answer has before the connection is lost; None for all.
        requests: Path and first byte of each request.
    """

    def __init__(self, content: dict[str, bytes], cut: int | None = None) -> None:
        self.content = content
        self.cut = cut
        self.requests: list[tuple[str, int]] = []
        self.url = ""


@contextmanager
def files(content: dict[str, bytes], cut: int | None = None) -> Iterator[Files]:
    """A server of files on this machine, which can give parts of them."""
    served = Files(content, cut)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            return

        def do_GET(self) -> None:
            body = served.content.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int((self.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
            served.requests.append((self.path, start))
            self.send_response(206 if self.headers["Range"] else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end, served.cut = served.cut, None
            try:
                self.wfile.write(body[start:end])
            except OSError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_recording_ends_and_loses_nothing(tmp_path: Path) -> None:
    with files({"/talk": video(tmp_path, 60)}) as server:
        source = StreamSource(f"{server.url}/talk", stride=3, **QUICK)
        frames = []
        for frame in source:
            time.sleep(0.002)
            frames.append(frame)
    assert [value_of(frame) for frame in frames] == pytest.approx(
        [2 * index + 11.5 for index in range(0, 60, 3)], abs=3
    )
    assert source.fps == pytest.approx(25 / 3)


def test_a_recording_goes_on_where_the_connection_was_lost(tmp_path: Path) -> None:
    content = video(tmp_path, 100)
    with files({"/talk": content}, cut=len(content) // 2) as server:
        events = list(StreamSource(f"{server.url}/talk", **QUICK))
    assert kinds(event for event in events if not isinstance(event, Frame)) == [Gap]
    values = [value_of(event) for event in events if isinstance(event, Frame)]
    assert len(values) == 100
    assert values == pytest.approx([2 * index + 11.5 for index in range(100)], abs=3)


def test_a_play_list_cannot_read_files_of_this_machine(tmp_path) -> None:
    secret = tmp_path / "part.ts"
    with av.open(str(secret), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), "rgb24")))
        container.mux(stream.encode())

    def play_list(part: str) -> bytes:
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{part}\n#EXT-X-ENDLIST\n".encode()

    content = {
        "/far.m3u8": play_list("part.ts"),
        "/near.m3u8": play_list(secret.as_uri()),
        "/part.ts": secret.read_bytes(),
    }
    with files(content) as server:
        got = kinds(StreamSource(f"{server.url}/far.m3u8", **QUICK))
        refused = kinds(StreamSource(f"{server.url}/near.m3u8", max_retries=0, **QUICK))
    assert len(got) == 30
    assert Failure in refused
    assert not any(isinstance(kind, int) for kind in refused)


@pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", bytes(5000)])
def test_what_is_no_video(body: bytes) -> None:
    with files({"/page": body}) as server:
        events = list(StreamSource(f"{server.url}/page", max_retries=0, **QUICK))
    assert kinds(events)[-1] == Failure
    assert not any(isinstance(event, Frame) for event in events)
