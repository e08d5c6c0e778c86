"""Things that give frames: a scripted capture, and a real server of Motion JPEG."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.inference.frames import Event, Frame
from yolo_lightning.inference.streams import Capture, CaptureError, LiveSource

Image = npt.NDArray[np.uint8]
QUICK: dict[str, Any] = {"initial_delay": 0.01, "max_delay": 0.05, "stall_timeout": 0.5}


def picture(value: int, size: tuple[int, int] = (48, 64)) -> Image:
    return np.full((*size, 3), value, np.uint8)


def value_of(frame: Frame) -> int:
    """What :func:`picture` was given, as far as a lossy codec keeps it."""
    return round(float(frame.image.mean()))


class ScriptedCapture(Capture):
    """Does what a script says, step by step: gives a picture, raises an error, calls a function, ends."""

    def __init__(self, script: Iterable[Any], fps: float | None = None, recorded: bool = False) -> None:
        self.script: Iterator[Any] = iter(script)
        self.fps = fps
        self.recorded = recorded
        self.closed = 0

    def open(self) -> None:
        first = next(self.script, "end")
        if isinstance(first, Exception):
            raise first
        assert first == "open"

    def read(self) -> Image | None:
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, int):
                return picture(step)
            step()
        return None

    def close(self) -> None:
        self.closed += 1


class FakeCamera:
    """A ``cv2.VideoCapture`` that gives some frames and is then pulled out.

    Args:
        num_frames: How many; None if it is not there.
        on_last: Called with the last one.
    """

    def __init__(self, num_frames: int | None, fps: float = 30.0, on_last: Callable[[], object] = lambda: None) -> None:
        self.left = num_frames
        self.fps = fps
        self.on_last = on_last
        self.released = 0

    def isOpened(self):  # noqa: N802
        return self.left is not None

    def get(self, propId):
        return self.fps

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        if not self.left:
            self.on_last()
        time.sleep(0.002)
        return True, np.dstack([np.full((6, 8), value, np.uint8) for value in (10, 20, self.left % 256)])  # BGR

    def release(self):
        self.released += 1


def scripted(*scripts: Iterable[Any], **options: Any) -> LiveSource:
    """A source of one script for each connection; there is nothing to connect to when they are used up."""
    remaining = iter(scripts)

    def new_capture() -> Capture:
        return ScriptedCapture(next(remaining, [CaptureError("nobody there")]))

    return LiveSource(new_capture, **({"name": "fake", "description": "a fake"} | QUICK | options))


def ticking(fps: float, count: int | None = None) -> Iterator[Any]:
    """The script of a camera."""
    yield "open"
    start, number = time.monotonic(), 0
    while count is None or number < count:
        number += 1
        time.sleep(max(start + number / fps - time.monotonic(), 0))
        yield number % 256


def kinds(events: Iterable[Event]) -> list[Any]:
    """Values of the frames, and the reasons of what is between."""
    return [value_of(event) if isinstance(event, Frame) else type(event) for event in events]


def capture_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("capture ")]


class MotionJPEG:
    """What a server of Motion JPEG does to whoever connects.

    Attributes:
        paths: What was asked for, in order, with the Authorization header.
        serve: Called with a function that sends a picture, for each connection; the connection ends when it returns.
        status: Answer to a request.
    """

    def __init__(self) -> None:
        self.paths: list[tuple[str, str | None]] = []
        self.serve: Callable[[Callable[..., None]], object] = lambda send: None
        self.status = 200
        self.url = ""
        self.done = threading.Event()

    def steady(self, send: Callable[..., None]) -> None:
        """Thirty pictures a second until the test is over."""
        number = 0
        while not self.done.wait(1 / 30):
            number += 1
            send(picture(number % 200))


@contextmanager
def motion_jpeg(port: int = 0) -> Iterator[MotionJPEG]:
    """A server on this machine, on any free port if none is given."""
    behaviour = MotionJPEG()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            return

        def do_GET(self) -> None:
            behaviour.paths.append((self.path, self.headers["Authorization"]))
            self.send_response(behaviour.status)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            if behaviour.status == 200:
                try:
                    behaviour.serve(self.send)
                except OSError:
                    return  # the client left

        def send(self, image: Image, broken: bool = False) -> None:
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            jpeg = jpeg[:100] if broken else jpeg
            header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            self.wfile.write(header + jpeg + b"\r\n")
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    behaviour.url = f"http://127.0.0.1:{server.server_port}/video"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield behaviour
    finally:
        behaviour.done.set()
        server.shutdown()
        server.server_close()
        thread.join()
