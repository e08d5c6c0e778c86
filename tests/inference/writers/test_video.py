"""Videos as they are written."""

from __future__ import annotations

import os
import signal
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.inference.sources.videos import image_of, write_video
from yolo_lightning.errors import InputError
from yolo_lightning.inference.sources import VideoSource
from yolo_lightning.inference.writers.video import VideoWriter


def _write(path: Path, size: tuple[int, int] = (96, 128), fps: float = 25, num_frames: int = 12, **options) -> Path:
    with VideoWriter(path, fps, size, **options) as writer:
        for number in range(num_frames):
            writer.write(image_of(number, size))
    return path


def _write_until(path: Path, error: type[BaseException]) -> None:
    with VideoWriter(path, 25, (96, 128)) as writer:
        for number in range(30):
            writer.write(image_of(number))
        raise error


def _audio(path: Path) -> tuple[str, float, bytes]:
    """Codec, length in seconds, and packets of the sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = b"".join(bytes(packet) for packet in container.demux(stream))
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return stream.codec_context.name, samples / 48000, packets


def test_codec_and_frames(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in {"h264", "mpeg4"}
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert not container.streams.audio
    frames = list(VideoSource(path))
    assert len(frames) == 12
    for number, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - image_of(number)).mean() < 4
        assert frame.time == pytest.approx(number / 25)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (25, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (30000 / 1001 / 3, Fraction(10000, 1001)),
        (30, Fraction(30)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
        (240, Fraction(240)),
    ],
)
def test_exact_rate(tmp_path: Path, fps: float, rate: Fraction) -> None:
    assert VideoSource(_write(tmp_path / "a.mp4", fps=fps)).rate == rate


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_rates_that_cannot_be(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match="cannot be"):
        VideoWriter(tmp_path / "a.mp4", fps, (96, 128))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(96, 128), (97, 128), (96, 127), (97, 127), (1, 1), (721, 33)])
def test_odd_sides_get_one_pixel_more(tmp_path: Path, size: tuple[int, int]) -> None:
    (first, *_) = VideoSource(_write(tmp_path / "a.mp4", size))
    assert first.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(first.image[: size[0], : size[1]].astype(int) - image_of(0, size)).mean() < 12
    assert np.abs(first.image[-1].astype(int) - first.image[size[0] - 1]).mean() < 12


@pytest.mark.parametrize("size", [(240, 320), (720, 64)])
def test_colours_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    """Both matrices, the one of large pictures and that of small ones, are written as they are tagged."""
    image = np.zeros((*size, 3), np.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 40, 90)]
    for number, colour in enumerate(colours):
        image[number * size[0] // 4 : (number + 1) * size[0] // 4] = colour
    with VideoWriter(tmp_path / "a.mp4", 25, size) as writer:
        writer.write(image)
    (frame,) = VideoSource(tmp_path / "a.mp4")
    found = frame.image[size[0] // 8 :: size[0] // 4, size[1] // 2].astype(int)
    assert np.abs(found - colours).max() <= 6


def test_frames_of_another_size(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25, (96, 128)) as writer:
        writer.write(image_of(0))
        with pytest.warns(UserWarning, match="256 × 192 pixels are resized to the 128 × 96"):
            writer.write(image_of(0, (192, 256)))
        writer.write(image_of(0, (192, 256)))  # no second warning
    assert [frame.size for frame in VideoSource(tmp_path / "a.mp4")] == [(96, 128)] * 3


def test_uneven_times(tmp_path: Path) -> None:
    times = [0.0, 0.041, 0.2, 0.2, 0.39]
    with VideoWriter(tmp_path / "a.mp4", 25, (96, 128)) as writer:
        for time in times:
            writer.write(image_of(0), time)
    found = [frame.time for frame in VideoSource(tmp_path / "a.mp4")]
    assert found == pytest.approx([0.0, 0.04, 0.2, 0.24, 0.4], abs=0.001)


@pytest.mark.parametrize(
    ("name", "codec", "audio", "written"),
    [
        ("a.mp4", "libx264", "aac", "aac"),
        ("a.mov", "mpeg4", "aac", "aac"),
        ("a.mkv", "libx264", "libmp3lame", "mp3float"),
        ("a.mkv", "libx264", "ac3", "ac3"),
        ("a.ts", "libx264", "aac", "aac"),
        ("a.avi", "mpeg4", "pcm_s16le", "aac"),
        ("a.mkv", "libvpx-vp9", "mp2", "aac"),
    ],
)
def test_sound_goes_along(tmp_path: Path, name: str, codec: str, audio: str, written: str) -> None:
    file = write_video(tmp_path / name, codec=codec, audio=audio, num_frames=50)
    source = VideoSource(file)
    output = tmp_path / "out.mp4"
    with VideoWriter(output, source.fps, (96, 128), audio_from=source.audio) as writer:
        for frame in source:
            writer.write(frame.image, frame.time)
    found, seconds, packets = _audio(output)
    assert found == written
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert len(list(VideoSource(output))) == 50
    if (name, audio) in {("a.mp4", "aac"), ("a.mov", "aac")}:
        original = _audio(file)[2]
        assert packets == original[: len(packets)]  # copied bit by bit
        assert len(packets) > 0.9 * len(original)


def test_sound_ends_with_the_video(tmp_path: Path) -> None:
    file = write_video(tmp_path / "in.mp4", audio="aac", num_frames=100)
    output = _write(tmp_path / "out.mp4", num_frames=25, audio_from=file)
    assert _audio(output)[1] == pytest.approx(1.0, abs=0.1)


def test_no_sound_to_take(tmp_path: Path) -> None:
    output = _write(tmp_path / "out.mp4", audio_from=write_video(tmp_path / "in.mp4"))
    assert len(list(VideoSource(output))) == 12


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_sound_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "in.mp4").write_bytes(content)
    with pytest.warns(UserWarning, match="sound is left out"):
        output = _write(tmp_path / "out.mp4", audio_from=tmp_path / "in.mp4")
    assert len(list(VideoSource(output))) == 12


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("mine")
    with pytest.raises(FileExistsError):
        VideoWriter(tmp_path / "a.mp4", 25, (96, 128))
    assert (tmp_path / "a.mp4").read_text() == "mine"


def test_an_empty_file_is_a_place_kept(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert len(list(VideoSource(_write(tmp_path / "a.mp4")))) == 12


def test_no_frame_leaves_no_file(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "a.mp4", 25, (96, 128)).close()
    assert not list(tmp_path.iterdir())


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        VideoWriter(tmp_path / "none" / "a.mp4", 25, (96, 128))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError):  # noqa: PT011 - of any kind
        _write(tmp_path / "a.mp4", num_frames=500)


def test_closed(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 25, (96, 128))
    writer.write(image_of(0))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(image_of(0))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_written_before_an_error_plays(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        _write_until(tmp_path / "a.mp4", error)
    assert len(list(VideoSource(tmp_path / "a.mp4"))) == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be killed")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_was_written_before_a_kill_plays(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        try:
            writer = VideoWriter(tmp_path / "a.mp4", 25, (96, 128))
            for number in range(300):
                writer.write(image_of(number))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert len(list(VideoSource(tmp_path / "a.mp4"))) >= 150


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"yolo-lightning\[video\]"):
        VideoWriter(tmp_path / "a.mp4", 25, (96, 128))
    assert not list(tmp_path.iterdir())
