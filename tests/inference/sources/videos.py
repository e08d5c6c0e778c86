"""Videos made by code: the frame with number n is grey n × 10 + 20, with a red corner at its upper left."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

SIZE = (96, 128)
RATE = 25


def gray_of(number: int) -> int:
    return number % 20 * 10 + 20


def image_of(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.full((*size, 3), gray_of(number), np.uint8)
    image[: size[0] // 4, : size[1] // 4] = (220, 30, 30)
    return image


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 12,
    rotation: tuple[int, bool, bool] | None = None,
    audio: str | None = None,
    size: tuple[int, int] = SIZE,
    options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.gop_size = 10
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        sound = None
        if audio is not None:
            sound = container.add_stream(audio, rate=48000)
            sound.codec_context.layout = "stereo"
        for number in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image_of(number, size), format="rgb24")))
            if sound is not None:
                container.mux(sound.encode(_tone(number)))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        for number in range(5):
            container.mux(stream.encode(_tone(number)))
        container.mux(stream.encode(None))
    return path


def _tone(number: int) -> av.AudioFrame:
    length = 48000 // RATE
    times = np.arange(length) + number * length
    wave = (np.sin(times * 440 * 2 * np.pi / 48000) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave.repeat(2).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts = 48000, number * length
    return frame
