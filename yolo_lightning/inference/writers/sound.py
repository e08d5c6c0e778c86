"""The sound of one file, put into another beside its pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from yolo_lightning.extras import require

__all__ = ["Sound"]

# What players expect in an MP4 file; it could hold more.
_COPIED = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})


class Sound:
    """Copies the sound of a file into a container, or encodes it as AAC where that does not take it.

    Whatever is wrong with the sound is warned of once and ends it; the video goes on.

    Args:
        output: Container that is being written, before its first packet.
        path: File with the sound; if it has none, nothing is added.
    """

    def __init__(self, output: Any, path: str) -> None:
        self._av = require("av", "video", "to copy sound")
        self._output, self._path = output, path
        self._opened = ExitStack()
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        self._encoder: Any = None
        self._start = 0
        try:
            file = self._opened.enter_context(open(path, "rb"))  # noqa: PTH123, SIM115
            source = self._opened.enter_context(self._av.open(file))
            stream = source.streams.best("audio")
            if stream is not None:
                self._add(source, stream)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self._give_up(error)

    def mux_until(self, seconds: float, *, end: bool = False) -> None:
        """Adds the sound up to a time of the video.

        Args:
            seconds: Time from the start of the video.
            end: Whether nothing more will be asked for.
        """
        try:
            while (packet := self._waiting or next(self._packets, None)) is not None:
                self._waiting = packet
                if packet.dts is not None:
                    if (packet.dts - self._start) * packet.time_base >= seconds:
                        break
                    self._mux(packet)
                self._waiting = None
            if end and self._encoder is not None:
                self._output.mux(self._encoder.encode(None))
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Closes the file that the sound is from."""
        self._opened.close()

    def _add(self, source: Any, stream: Any) -> None:
        video = source.streams.best("video")
        begin = (video.start_time or 0) * video.time_base if video is not None else 0
        self._start = round(begin / stream.time_base)
        name = stream.codec_context.name
        if name in _COPIED or name.startswith("mp3"):
            self._target = self._output.add_stream_from_template(stream)
        else:
            self._encoder = self._target = self._output.add_stream("aac", rate=stream.codec_context.sample_rate)
            self._encoder.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._packets = source.demux(stream)

    def _mux(self, packet: Any) -> None:
        if self._encoder is not None:
            for frame in packet.decode():
                frame.pts = None if frame.pts is None else frame.pts - self._start
                self._output.mux(self._encoder.encode(frame))
            return
        packet.pts = None if packet.pts is None else packet.pts - self._start
        packet.dts -= self._start
        packet.stream = self._target
        self._output.mux(packet)

    def _give_up(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(f"{self._path}: its sound is left out from here on ({reason})", stacklevel=3)
        self._packets, self._waiting, self._encoder = iter(()), None, None
