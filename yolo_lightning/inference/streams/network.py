"""Streams over the network."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from typing import Any, Unpack
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.inference.streams.capture import Capture, CaptureError, CorruptFrameError, UnavailableError
from yolo_lightning.inference.streams.live import LiveOptions, LiveSource
from yolo_lightning.web import redact

__all__ = ["StreamSource", "VideoCapture", "parse_address"]

# What a stream may refer to: a playlist must not read files of this machine.
_PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto,data",
    "https": "http,https,tcp,tls,crypto,data",
    "rtsp": "rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
}


def parse_address(url: str, *schemes: str) -> SplitResult:
    """The parts of an address.

    Raises:
        InputError: If it is none, or has another scheme.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # of brackets or a port
        pass
    raise InputError(f"{redact(url)} is no address of the form {', '.join(f'{scheme}://…' for scheme in schemes)}")


class StreamSource(LiveSource):
    """A video stream over http, https, rtsp (by tcp) or rtmp, read by PyAV: Motion JPEG, HLS, MPEG-TS, H.264 and so on.

    A recording, whose length is known, ends at its end. Everything else has no end: if the server ends it, it counts as
    interrupted. User, password and secrets of the address are not in its name, its description or in any message.

    Args:
        url: Address of the stream.
        open_timeout: Seconds that connecting may take.
        ffmpeg_options: Further options for FFmpeg, such as ``{"rtsp_transport": "udp"}``.
        options: As in :class:`LiveSource`.

    Raises:
        InputError: If the scheme of the address is another, or PyAV is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout: float = 10.0,
        ffmpeg_options: Mapping[str, str] | None = None,
        **options: Unpack[LiveOptions],
    ) -> None:
        parts = parse_address(url, *_PROTOCOLS)
        require("av", "video", "to read streams")
        timeout = (open_timeout, options.get("stall_timeout", 5.0))
        super().__init__(
            lambda: VideoCapture(url, timeout, ffmpeg_options),
            name=_plain(parts),
            description=redact(url),
            **options,
        )


class VideoCapture(Capture):
    """A video stream, read by PyAV.

    Args:
        url: Its address.
        timeout: Seconds that connecting and waiting for data may take.
        ffmpeg_options: Further options for FFmpeg.
    """

    def __init__(self, url: str, timeout: tuple[float, float], ffmpeg_options: Mapping[str, str] | None = None) -> None:
        self._av = require("av", "video", "to read streams")
        self._url, self._timeout, self._further = url, timeout, dict(ffmpeg_options or {})
        self._to_rgb = self._av.video.reformatter.VideoReformatter()  # preparing it takes as long as a frame
        self._container: Any = None
        self._behind: float | None = None
        self._frames: Iterator[Any] = iter(())
        self._packets: Iterator[Any] = iter(())

    def open(self) -> None:
        """Connects. Raises UnavailableError if there is no video at the address."""
        try:
            options = _options(urlsplit(self._url).scheme) | self._further
            self._container = self._av.open(self._url, timeout=self._timeout, options=options)
            stream = self._container.streams.best("video")
            if stream is None:
                raise UnavailableError("there is no video in it")
            self._start(stream)
        except self._av.error.FFmpegError as error:
            raise self._explain(error, self._timeout[0], "no connection; is the address right?") from error

    def read(self) -> npt.NDArray[np.uint8] | None:
        """The next image; None at the end of a recording."""
        errors = self._av.error
        try:
            frame = self._next_frame()
            if frame is None and not self.recorded:
                raise CaptureError("the server ended the stream")
            return None if frame is None else self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
        except errors.FFmpegError as error:
            raise self._explain(error, self._timeout[1], "the connection was lost") from error

    def close(self) -> None:
        """Disconnects."""
        if self._container is not None:
            self._container.close()

    def _start(self, stream: Any) -> None:
        container = self._container
        self.fps = float(stream.average_rate) if stream.average_rate else None
        self.recorded = bool(container.duration and container.duration > 0)
        stream.thread_type = "AUTO" if self.recorded else "SLICE"  # a thread for each frame would hold frames back
        if self.recorded and self.position is not None:
            container.seek(int(self.position / stream.time_base), stream=stream)  # to the key frame before it
            self._behind = self.position
        self._packets = container.demux(stream)

    def _next_frame(self) -> Any:
        """The next whole frame behind the position, None if there is none."""
        while True:
            for frame in self._frames:
                if frame.is_corrupt:
                    raise CorruptFrameError("damaged data")
                if self._behind is not None and frame.time is not None and frame.time <= self._behind:
                    continue
                self._behind = None
                self.position = frame.time if self.recorded else None
                return frame
            packet = next(self._packets, None)
            if packet is None:
                return None
            self._frames = iter(self._decode(packet))

    def _decode(self, packet: Any) -> list[Any]:
        errors = self._av.error
        try:
            return list(packet.decode())
        except errors.EOFError:
            return []
        except errors.InvalidDataError as error:
            raise CorruptFrameError(error.strerror) from error

    def _explain(self, error: Any, limit: float, lost: str) -> CaptureError:
        """What FFmpeg's error means, without the address, which it repeats."""
        errors = self._av.error
        if isinstance(error, errors.ExitError):
            return CaptureError(f"no data for {limit:g} s")
        if isinstance(error, (errors.HTTPUnauthorizedError, errors.HTTPForbiddenError)):
            return UnavailableError(f"access denied ({error.strerror}): check user and password in the address")
        gone = (errors.HTTPClientError, errors.LookupError, errors.InvalidDataError)
        if isinstance(error, gone) and not isinstance(error, errors.HTTPTooManyRequestsError):
            return UnavailableError(f"there is no video stream ({error.strerror})")
        return CaptureError(lost if error.errno == errno.EIO else error.strerror)


def _options(scheme: str) -> dict[str, str]:
    options = {"protocol_whitelist": _PROTOCOLS[scheme]}
    if scheme == "rtsp":
        options["rtsp_transport"] = "tcp"  # udp loses packets, which tears pictures
    return options


def _plain(parts: SplitResult) -> str:
    """A file name that says which stream it is, without secrets."""
    place = parts.hostname if parts.port is None else f"{parts.hostname}_{parts.port}"
    return re.sub(r"\W+", "_", f"{place}{parts.path}").strip("_")[:100]
