"""Video files, as they come and as they should not."""

from __future__ import annotations

import itertools
import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.inference.sources.videos import SIZE, gray_of, write_sound, write_video
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Failure, Frame
from yolo_lightning.inference.sources import VideoSource


def _grays(frames: list) -> list[int]:
    """Grey of each frame, where it is exactly grey."""
    return [round(float(frame.image[-20:, -20:].mean())) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mjpeg"),
        ("a.ts", "mpeg2video"),
        ("a.mp4", "libx265"),
    ],
)
@pytest.mark.parametrize("stride", [1, 3, 100])
def test_frames_of_any_codec(tmp_path: Path, name: str, codec: str, stride: int) -> None:
    file = write_video(tmp_path / name, codec=codec, size=SIZE)
    source = VideoSource(file, stride)
    events = list(source)
    numbers = list(range(0, 12, stride))
    assert all(isinstance(event, Frame) for event in events)
    assert [event.number for event in events] == numbers
    assert all(abs(found - gray_of(number)) <= 5 for found, number in zip(_grays(events), numbers, strict=True))
    assert events[0].image[5, 5, 0] - 100 > events[0].image[5, 5, 1]  # red, not blue
    assert all(event.size == SIZE and event.image.dtype == np.uint8 for event in events)
    assert all(event.image.flags.writeable and event.image.flags.c_contiguous for event in events)
    assert [event.time for event in events] == pytest.approx([number / 25 for number in numbers], abs=0.05)
    assert {event.name for event in events} == {name}
    assert {event.source for event in events} == {str(file)}
    assert source.fps == pytest.approx(25 / stride, rel=0.05)
    assert not source.live
    assert source.num_frames is not None
    assert abs(source.num_frames - len(numbers)) <= 1


def test_file_that_goes_away(tmp_path: Path) -> None:
    """It is found and lost again before its turn comes; the others go on."""
    file = write_video(tmp_path / "a.mp4")
    source = VideoSource(file, description="the first")
    file.unlink()
    (failure,) = source
    assert isinstance(failure, Failure)
    assert failure.source == "the first"
    assert failure.reason.startswith("cannot be opened")


@pytest.mark.parametrize("turn", list(itertools.product((0, 90, 180, -90), (False, True), (False, True))))
def test_is_turned_upright(tmp_path: Path, turn: tuple[int, bool, bool]) -> None:
    try:
        file = write_video(tmp_path / "a.mp4", num_frames=2, rotation=turn)
    except AttributeError:
        pytest.skip("this PyAV cannot write rotated videos")
    angle, hflip, vflip = turn
    image = next(iter(VideoSource(file))).image
    assert image.shape[:2] == (SIZE if angle in (0, 180) else SIZE[::-1])
    expected = np.zeros((2, 2), bool)
    expected[0, 0] = True
    expected = np.rot90(expected, angle // 90)
    expected = expected[:, ::-1] if hflip else expected
    expected = expected[::-1] if vflip else expected
    corners = image[[8, -8]][:, [8, -8]].astype(int)
    assert np.array_equal(corners[..., 0] - corners[..., 1] > 80, expected)


def test_exact_rate_and_sound(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4")
    loud = write_video(tmp_path / "loud.mp4", audio="aac")
    assert VideoSource(silent).audio is None
    assert VideoSource(loud).audio == str(loud)
    assert VideoSource(loud, 2).audio is None
    assert VideoSource(loud, 2).rate == Fraction(25, 2)


@pytest.mark.parametrize("stride", [0, -1])
def test_stride_is_checked(tmp_path: Path, stride: int) -> None:
    with pytest.raises(InputError, match="stride"):
        VideoSource(write_video(tmp_path / "a.mp4"), stride)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"hello world" * 100, "cannot be read as a video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n", "cannot be read as a video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "cannot be read as a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes | None, message: str) -> None:
    write_video(tmp_path / "other.mp4")
    file = tmp_path / "a.mp4"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        VideoSource(file)
    assert str(file) in str(error.value)


def test_sound_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        VideoSource(write_sound(tmp_path / "a.mp4"))


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"yolo-lightning\[video\]"):
        VideoSource(file)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_cut_off(tmp_path: Path, name: str) -> None:
    file = write_video(tmp_path / name, num_frames=125, options={"movflags": "faststart"} if name == "a.mp4" else {})
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    *frames, failure = VideoSource(file)
    assert 40 < len(frames) < 100
    assert all(isinstance(frame, Frame) for frame in frames)
    assert isinstance(failure, Failure)
    assert "of 5.0 s" in failure.reason
    assert failure.source == str(file)


def test_damaged(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", num_frames=100, options={"movflags": "faststart"})
    content = bytearray(file.read_bytes())
    begin = content.index(b"mdat") + 2000
    places = np.random.default_rng(0).integers(begin, len(content) - 2000, 400)
    for place in places.tolist():
        content[place] ^= 0xFF
    file.write_bytes(content)
    *frames, failure = VideoSource(file)
    assert len(frames) > 10
    assert isinstance(failure, Failure)
    assert "damaged" in failure.reason


@pytest.mark.parametrize("name", ["-i.mp4", "http:x.mp4", "a%03d.mp4", "new\nline.mp4", "[bold].mp4", "concat:a|b.mp4"])
def test_names_are_only_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(VideoSource(name))) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    write_video(tmp_path / "plain.mp4").rename(name)
    assert len(list(VideoSource(name))) == 12


def test_stops_early_and_frees_the_file(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4")
    source = VideoSource(file)
    with source:
        assert isinstance(next(iter(source)), Frame)
    source.close()
    if sys.platform == "linux":
        links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        assert str(file) not in links
    assert len(list(source)) == 12  # a file can be read again
