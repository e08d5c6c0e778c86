"""Streams by RTSP and RTMP: a real RTSP server with H.264 over TCP, and FFmpeg as a server of RTMP."""

from __future__ import annotations

import re
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.inference.streams.fakes import capture_threads, kinds, picture, value_of
from yolo_lightning.inference.frames import Failure, Frame, Gap
from yolo_lightning.inference.streams import StreamSource

av = pytest.importorskip("av")
QUICK: dict[str, Any] = {"initial_delay": 0.05, "max_delay": 0.1, "stall_timeout": 1.0, "open_timeout": 3.0}
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert capture_threads() == []


def units(num_frames: int) -> list[list[bytes]]:
    """H.264 units of each frame; the frames are ever brighter."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 48, "yuv420p", 25
    encoder.options = {"tune": "zerolatency", "g": "5", "crf": "5", "x264-params": "sliced-threads=0:slices=1"}
    frames = [av.VideoFrame.from_ndarray(picture(index + 10), "rgb24") for index in range(num_frames)]
    packets = [packet for frame in frames for packet in encoder.encode(frame)] + encoder.encode()
    return [[unit for unit in re.split(b"\0\0\0?\1", bytes(packet)) if unit] for packet in packets]


class Camera:
    """What the RTSP server does.

    Attributes:
        url: Where it is.
        limits: After how many frames each connection stalls or ends; None for never.
        stalls: Whether it stalls rather than ends.
        requests: The first lines of all requests.
    """

    def __init__(self) -> None:
        self.url = ""
        self.limits: list[int | None] = []
        self.stalls = False
        self.done = threading.Event()
        self.requests: list[str] = []
        self.frames = units(150)


@contextmanager
def rtsp_camera() -> Iterator[Camera]:
    camera = Camera()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                while request := self.request_lines():
                    camera.requests.append(request[0])
                    self.answer(request)
                    if request[0].startswith("PLAY"):
                        self.play()
                        return
            except OSError:
                return

        def request_lines(self) -> list[str]:
            lines: list[str] = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            return lines

        def answer(self, request: list[str]) -> None:
            method = request[0].split()[0]
            number = next(line for line in request if line.lower().startswith("cseq"))
            head = ["RTSP/1.0 200 OK", number, "Session: 7"]
            body = _SDP if method == "DESCRIBE" else ""
            head += {
                "OPTIONS": ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"],
                "DESCRIBE": ["Content-Type: application/sdp", f"Content-Length: {len(body)}"],
                "SETUP": ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"],
            }.get(method, [])
            self.wfile.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())

        def play(self) -> None:
            limit, sequence = (camera.limits.pop(0) if camera.limits else None), 0
            for index, frame in enumerate(camera.frames):
                if index == limit:
                    if camera.stalls:
                        camera.done.wait(10)
                    return
                for position, unit in enumerate(frame):
                    last = 0x80 if position == len(frame) - 1 else 0
                    packet = struct.pack(">BBHII", 0x80, last | 96, sequence, index * 3600, 1) + unit
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                    sequence += 1
                self.wfile.flush()
                if camera.done.wait(0.02):
                    return

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    camera.url = f"rtsp://admin:hunter2@127.0.0.1:{server.server_address[1]}/live"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield camera
    finally:
        camera.done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_frames_by_rtsp() -> None:
    with rtsp_camera() as camera:
        source = StreamSource(camera.url, policy="all", **QUICK)
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 30:
                break
        assert "hunter2" not in source.description
    values = [value_of(frame) for frame in frames]
    assert values == pytest.approx(list(range(values[0], values[0] + 30)), abs=2)
    assert frames[0].size == (48, 64)
    assert any("SETUP" in request for request in camera.requests)


@pytest.mark.parametrize("stalls", [False, True])
def test_drops_or_stalls_and_returns(stalls: bool) -> None:
    with rtsp_camera() as camera:
        camera.limits, camera.stalls = [40, 40, None], stalls
        events = []
        for event in StreamSource(camera.url, policy="all", **QUICK):
            events.append(event)
            if sum(isinstance(event, Gap) for event in events) == 2 and isinstance(event, Frame):
                break
    gaps = [event for event in events if isinstance(event, Gap)]
    assert len(gaps) == 2
    assert not any("hunter2" in gap.reason for gap in gaps)
    assert sum(isinstance(event, Frame) for event in events) > 60


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    events = list(StreamSource(f"rtsp://admin:hunter2@127.0.0.1:{port}/live", max_retries=2, **QUICK))
    assert kinds(events) == [Gap, Failure]
    assert "refused" in events[1].reason
    assert "hunter2" not in str(events)


def test_frames_by_rtmp() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg, as a server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/door"
    camera = "-re -f lavfi -i testsrc=size=64x48:rate=25 -t 20 -c:v libx264 -tune zerolatency -g 5 -f flv -listen 1"
    server = subprocess.Popen(["ffmpeg", "-loglevel", "quiet", *camera.split(), url], stdin=subprocess.DEVNULL)
    try:
        source = StreamSource(url, policy="all", **(QUICK | {"max_retries": None}))
        frames = []
        for event in source:  # a gap first, if the server is not up yet
            frames += [event] if isinstance(event, Frame) else []
            if len(frames) == 10:
                break
    finally:
        server.kill()
        server.wait()
    assert frames[0].size == (48, 64)
    assert source.name == f"127_0_0_1_{port}_live_door"
    assert time.monotonic() - frames[-1].time < 10
