"""A video of frames, with the sound of another file."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.closing import Closing
from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.inference.writers.sound import Sound

if TYPE_CHECKING:
    from av import VideoStream

__all__ = ["VideoWriter"]

# libx264 where the build has it, else what other builds and systems bring; every one has mpeg4
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4")
_X264 = {"preset": "ultrafast", "crf": "20"}  # half the work of veryfast, for files three times the size
_BITS_PER_PIXEL = 0.15
_KEY_FRAME_SECONDS = 2  # what a killed process loses at most, and how finely players can seek
_HD_LINES = 720  # from here on players take BT.709 for granted, below BT.601


class VideoWriter(Closing):
    """Writes frames to an MP4 file, as H.264 in 4:2:0.

    What was written before an error, Ctrl-C or even the end of the process by force can be played: every two seconds
    the file is made whole up to there.

    An odd width or height gets one column or row more at its right or lower edge, equal to the last one, since 4:2:0
    needs even sides. Frames of another size than the first ones are resized, which is warned of once.

    Args:
        path: File to write; the ending should be ``.mp4``. It must not exist, or be empty.
        fps: Frames per second; the nearest fraction, where 29.97 and 23.98 mean 30000/1001 and 24000/1001.
        size: (height, width) of the frames in pixels.
        audio_from: File whose sound is taken, as far as the video lasts: as it is where MP4 takes it, else encoded as
            AAC; if neither is possible, it is left out with a warning.

    Raises:
        InputError: If PyAV is not installed, or fps or size are not positive.
        OSError: If the file holds something or cannot be written.
    """

    def __init__(
        self, path: Path, fps: float | Fraction, size: tuple[int, int], *, audio_from: str | Path | None = None
    ) -> None:
        av = require("av", "video", "to write videos")
        if not 0 < fps < float("inf") or min(size) < 1:
            raise InputError(f"{path}: a video of {fps} frames per second and {size[1]} × {size[0]} pixels cannot be")
        self.path, self.size = path, size
        self.rate = _exact(fps)
        self.num_frames = 0
        self._next_slot = 0
        self._warned = False
        self._container: Any = None
        self._sound: Sound | None = None
        self._to_yuv = av.video.reformatter.VideoReformatter()
        is_reserved = path.is_file() and not path.stat().st_size
        self._file = path.open("r+b" if is_reserved else "xb", buffering=0)
        self._audio_from = None if audio_from is None else os.fspath(audio_from)
        self._opened = ExitStack()

    def _begin_with_sound(self) -> None:
        try:
            self._begin(self._audio_from)
        except OSError as error:
            if self._audio_from is None:
                raise
            warnings.warn(f"{self._audio_from}: its sound is left out ({error})", stacklevel=4)
            self._file.truncate(self._file.seek(0))
            self._begin(None)

    def _begin(self, audio_from: str | None) -> None:
        """Opens the encoders and writes the head of the file."""
        import av

        options = {"movflags": "hybrid_fragmented"}
        with ExitStack() as stack:
            try:
                self._container = stack.enter_context(av.open(self._file, "w", format="mp4", options=options))
                self._stream = _add_video(self._container, self.rate, self.size)
                self._sound = None
                if audio_from is not None:
                    self._sound = stack.enter_context(closing(Sound(self._container, audio_from)))
                self._container.start_encoding()
            except av.FFmpegError as error:
                raise OSError(f"{self.path}: cannot be written ({error.strerror})") from error
            self._opened = stack.pop_all()

    def write(self, image: npt.NDArray[np.uint8], time: float | None = None) -> None:
        """Adds a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: Seconds from the start, for videos without an even rate; the frame is shown at the nearest multiple
                of 1 / fps that is free. None: right after the frame before.

        Raises:
            OSError: If it cannot be written.
            ValueError: If the writer is closed.
        """
        if self._file.closed:
            raise ValueError(f"{self.path} is closed")
        from av import VideoFrame

        # Without a copy, during which no other thread could go on.
        frame = VideoFrame.from_numpy_buffer(self._fitted(image), format="rgb24")
        frame = self._to_yuv.reformat(frame, format="yuv420p", dst_colorspace=_matrix(self.size[0])[0])
        if self._container is None:  # not before: FFmpeg cannot end a file that has no frame
            self._begin_with_sound()
        if time is not None:
            self._next_slot = max(self._next_slot, round(time * self.rate))
        frame.pts, frame.time_base = self._next_slot, 1 / self.rate
        self._next_slot += 1
        self.num_frames += 1
        self._mux(frame)

    def close(self) -> None:
        """Completes the file; may be called twice. A file without a frame is taken away."""
        if self._file.closed:
            return
        import av

        try:
            with self._opened:
                if self._container is not None:
                    self._mux(None)
        except (av.FFmpegError, av.error.PyAVCallbackError) as error:  # of its last bytes
            raise OSError(f"{self.path}: cannot be completed ({error})") from error
        finally:
            self._file.close()
            if self._container is None:
                self.path.unlink(missing_ok=True)

    def _mux(self, frame: Any) -> None:
        """Encodes a frame, or with None what is held back, and adds the sound up to there."""
        from av import FFmpegError

        try:
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.mux_until(float(self._next_slot / self.rate), end=frame is None)
        except FFmpegError as error:
            raise OSError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _fitted(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image in the size of the video, with even sides."""
        height, width = self.size
        if image.shape[:2] != self.size:
            if not self._warned:
                warnings.warn(
                    f"{self.path}: frames of {image.shape[1]} × {image.shape[0]} pixels are resized to the "
                    f"{width} × {height} of the first",
                    stacklevel=3,
                )
                self._warned = True
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            image = np.asarray(padded, np.uint8)
        return np.ascontiguousarray(image)


def _add_video(container: Any, rate: Fraction, size: tuple[int, int]) -> VideoStream:
    name = _encoder()
    height, width = size[0] + size[0] % 2, size[1] + size[1] % 2
    # By itself it takes one and a half threads a core, and the network waits for those that it shares a core with.
    options = {**_X264, "threads": str(max(1, (os.cpu_count() or 1) // 4))} if name == "libx264" else {}
    stream: VideoStream = container.add_stream(name, rate=rate, options=options)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    if name != "libx264":
        stream.bit_rate = int(height * width * rate * _BITS_PER_PIXEL)
    context = stream.codec_context
    context.gop_size = max(1, round(rate * _KEY_FRAME_SECONDS))
    context.color_range = 1  # 16…235, as players expect
    context.colorspace = context.color_primaries = context.color_trc = _matrix(size[0])[1]
    return stream


def _exact(fps: float | Fraction) -> Fraction:
    """Frames per second as a fraction, which rounding may have hidden."""
    television = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    if abs(television - Fraction(fps)) < Fraction(fps) / 5000:
        return television
    return max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))


def _encoder() -> str:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    for name in _ENCODERS:
        try:
            return Codec(name, "w").name
        except UnknownCodecError:
            continue
    raise InputError("PyAV was built without an encoder for MP4: install it from PyPI")


def _matrix(height: int) -> tuple[int, int]:
    """Colour matrix of pictures of a height, as swscale numbers it and as files do."""
    return (1, 1) if height >= _HD_LINES else (5, 6)
