"""A video file as a source."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.images import apply_orientation
from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.inference.frames import Event, Failure, Frame, Source

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

__all__ = ["VIDEO_SUFFIXES", "VideoSource"]

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"}
    | {".ts", ".webm", ".wmv"}
)
"""File name endings that count as videos, in lower case."""

# No play lists: a file from elsewhere must not make the library open other files or addresses.
_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,ogg,gif,h264,hevc,ivf,m4v,mjpeg,mxf,dv"

# Signs of the display matrix (a, b, c, d) and the EXIF orientation that does the same.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_UNKNOWN_RATE = Fraction(30)
_SHORT = 1.0  # seconds that may be missing at the end without a word


class VideoSource(Source):
    """Frames of a video file by PyAV, decoded in threads, turned as the file says, in its own colour space to RGB.

    A damaged video gives what can be decoded, then a :class:`Failure` that tells what is missing.

    Args:
        path: The file.
        stride: Only every so-many-th frame is given, the first one included; :attr:`Frame.number` counts all.
        name: Plain name of the frames; None takes that of the file.
        description: What the file is called when shown; None takes the path.

    Attributes:
        rate: Exact frames per second after leaving out frames; 30 before that if the file does not say.
        audio: The path if the file has sound that fits to the frames, as it does when none are left out; else None.

    Raises:
        InputError: If PyAV is not installed, or the file cannot be read as a video.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        stride: int = 1,
        name: str | None = None,
        *,
        description: str | None = None,
    ) -> None:
        if stride < 1:
            raise InputError(f"the video stride is {stride}; it must be at least 1")
        self.path = os.fspath(path)
        self.description = self.path if description is None else description
        self.name = os.path.basename(self.path) if name is None else name  # noqa: PTH119
        self.stride = stride
        self._opened = ExitStack()
        with _open(self.path) as stream:  # and closed again: a folder may hold more videos than may be open at once
            rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or _UNKNOWN_RATE
            self._duration = _duration(stream)
            container: Any = stream.container
            length = self._duration or (container.duration or 0) / 1e6
            num_frames = stream.frames or round(length * float(rate))
            has_audio = bool(container.streams.audio)
        self.rate = rate / stride
        self.fps = float(self.rate)
        self.audio = self.path if has_audio and stride == 1 else None
        self.num_frames = math.ceil(num_frames / stride) or None

    def __iter__(self) -> Iterator[Event]:
        """The frames in order, then what was wrong."""
        from av.video.reformatter import VideoReformatter

        to_rgb = VideoReformatter()  # one for all frames: preparing it takes as long as a frame
        faults: list[str] = []
        end = 0.0
        with self._opened:
            try:
                stream = self._opened.enter_context(_open(self.path))
            except InputError as error:  # it could be opened before
                yield Failure(self.description, str(error).removeprefix(f"{self.path}: "))
                return
            step = 1 / float(self.rate * self.stride)
            start = _seconds(stream, stream.start_time) or 0.0
            for number, frame in enumerate(_decode(stream, faults)):
                time = end if frame.time is None else frame.time - start
                end = time + step
                if number % self.stride == 0:
                    image = np.asarray(to_rgb.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
                    yield Frame(_upright(image, frame), self.description, self.name, number, time)
        if reason := self._problem(faults, end):
            yield Failure(self.description, reason)

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    def _problem(self, faults: list[str], end: float) -> str | None:
        reasons = []
        if faults:
            reasons.append(f"is damaged: {len(faults)} parts could not be decoded ({faults[0]})")
        if self._duration and self._duration - end > max(_SHORT, 0.02 * self._duration):
            reasons.append(f"ends after {end:.1f} of {self._duration:.1f} s, as a file does that was cut off")
        return f"{' and '.join(reasons)}; restore the file" if reasons else None


@contextmanager
def _open(path: str) -> Iterator[VideoStream]:
    """The video stream of a file, which is open meanwhile."""
    av = require("av", "video", "to read videos")
    with ExitStack() as stack:
        try:
            # a file object, since a name may mean something else to the library, or not be UTF-8
            file = stack.enter_context(open(path, "rb"))  # noqa: PTH123
            if not os.fstat(file.fileno()).st_size:
                raise ValueError("the file is empty")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', error)})") from error
        try:
            container = stack.enter_context(av.open(file, container_options={"format_whitelist": _FORMATS}))
            stream = container.streams.best("video")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read as a video ({_reason(error)}); restore it or convert it to MP4"
            ) from error
        if stream is None:
            raise InputError(f"{path}: holds no pictures, only sound or data; give a video")
        stream.thread_type = "AUTO"
        yield stream


def _decode(stream: VideoStream, faults: list[str]) -> Iterator[VideoFrame]:
    """All frames that can be decoded; what cannot is noted."""
    from av import FFmpegError

    container: Any = stream.container
    packets = container.demux(stream)
    while True:
        packet: Packet[VideoStream] | None = None
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except (FFmpegError, OSError) as error:
            faults.append(_reason(error))
            if packet is None:  # the file cannot be read on; there is what the decoder holds back
                yield from _flush(stream)
                return
            continue
        for frame in frames:
            if frame.is_corrupt:
                faults.append("a damaged frame")
            yield frame


def _flush(stream: VideoStream) -> list[VideoFrame]:
    from av import FFmpegError

    try:
        return stream.decode(None)
    except FFmpegError:
        return []


def _upright(image: npt.NDArray[np.uint8], frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """Turned and mirrored as the display matrix of the frame says, if by right angles."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    values = np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]]
    return apply_orientation(image, _ORIENTATIONS.get(tuple(np.sign(values).tolist()), 1))


def _fraction(rate: Any) -> Fraction | None:
    return Fraction(rate.numerator, rate.denominator) if rate else None


def _seconds(stream: VideoStream, ticks: int | None) -> float | None:
    base = _fraction(stream.time_base)
    return None if ticks is None or base is None else float(ticks * base)


def _duration(stream: VideoStream) -> float | None:
    """Length of the video in seconds, if the file says; that of the whole file if nothing else is in it."""
    container: Any = stream.container
    if stream.duration is None and container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return _seconds(stream, stream.duration)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
