"""Sources as a person names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.inference.sources.videos import write_video
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Failure, Frame, Source
from yolo_lightning.inference.pictures import output_stem
from yolo_lightning.inference.sources import FailedSource, ImageSource, VideoSource, parse_sources
from yolo_lightning.inference.streams import CameraSource, ScreenSource, StreamSource, YouTubeSource


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``b.png a.jpg clip.mp4 notes.md .hidden.jpg``, and ``deep/a.png deep/.cache/x.jpg``; the working directory."""
    root = tmp_path / "in"
    (root / "deep" / ".cache").mkdir(parents=True)
    for name in ("b.png", "a.jpg", ".hidden.jpg", "deep/a.png", "deep/.cache/x.jpg"):
        Image.new("RGB", (32, 24), (10, 20, 30)).save(root / name)
    write_video(root / "clip.mp4")
    (root / "notes.md").write_text("no picture")
    monkeypatch.chdir(root)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return root


def _said(sources: list[Source]) -> list[tuple[str, ...]]:
    """What comes from each source: names of images, of a video, or what failed."""
    said = []
    for source in sources:
        with source:
            events = list(source)
        names = dict.fromkeys(event.name if isinstance(event, Frame) else f"! {event.source}" for event in events)
        said.append(tuple(names))
    return said


def test_nothing() -> None:
    with pytest.raises(InputError, match="there is no source"):
        parse_sources([])


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["a.jpg"], [("a.jpg",)]),
        (["clip.mp4"], [("clip.mp4",)]),
        (["b.png", "a.jpg"], [("b.png", "a.jpg")]),
        (["b.png", "clip.mp4", "a.jpg"], [("b.png",), ("clip.mp4",), ("a.jpg",)]),
        (["."], [("a.jpg", "b.png"), ("clip.mp4",)]),
        (["deep"], [("a.png",)]),
        (["*.jpg"], [("a.jpg",)]),
        (["*"], [("a.jpg", "b.png"), ("clip.mp4",)]),
        (["**/*.png"], [("b.png", "a.png")]),
        (["?.*"], [("a.jpg", "b.png")]),
        (["a.jpg", "deep"], [("a.jpg", "deep_a.png")]),
        (["a.jpg", "missing.jpg", "b.png"], [("a.jpg",), ("! missing.jpg",), ("b.png",)]),
        (["a.jpg", "notes.md"], [("a.jpg",), ("! notes.md",)]),
        (["a.jpg", "no*thing"], [("a.jpg",), ("! no*thing",)]),
        (["a.jpg", ""], [("a.jpg",), ("! ",)]),
        (["a.jpg", "nul\0"], [("a.jpg",), ("! nul\0",)]),
        (["a.jpg", "x" * 5000], [("a.jpg",), (f"! {'x' * 5000}",)]),
    ],
)
def test_files_folders_and_patterns(folder: Path, tokens: list[str], expected: list[tuple[str, ...]]) -> None:
    assert _said(parse_sources(tokens)) == expected


def test_absolute_paths_and_path_objects(folder: Path) -> None:
    assert _said(parse_sources([folder / "a.jpg", str(folder / "deep")])) == [("a.jpg", "deep_a.png")]
    assert _said(parse_sources([(folder / "a.jpg").as_uri()])) == [("a.jpg",)]
    Path("a.jpg").rename("a b%.jpg")
    assert _said(parse_sources([(folder / "a b%.jpg").as_uri()])) == [("a b%.jpg",)]


def test_recursive(folder: Path) -> None:
    assert _said(parse_sources(["."], recursive=True)) == [("a.jpg", "b.png", "deep_a.png"), ("clip.mp4",)]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_in_circles_end(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "gone.jpg").symlink_to(folder / "nothing.jpg")
    assert _said(parse_sources(["."], recursive=True)) == [("a.jpg", "b.png", "deep_a.png"), ("clip.mp4",)]
    with pytest.raises(InputError, match=r"link to .*nothing\.jpg"):
        parse_sources(["deep/gone.jpg"])


def test_images_are_one_source_in_order(folder: Path) -> None:
    images, video = parse_sources(["."])
    assert isinstance(images, ImageSource)
    assert isinstance(video, VideoSource)
    assert (images.num_frames, images.fps) == (2, None)
    assert (video.num_frames, video.fps) == (12, 25)


def test_stride(folder: Path) -> None:
    (video,) = parse_sources(["clip.mp4"], video_stride=5)
    assert [event.number for event in video if isinstance(event, Frame)] == [0, 5, 10]
    with pytest.raises(InputError, match="stride"):
        parse_sources(["clip.mp4"], video_stride=0)


def test_ending_that_says_nothing(folder: Path) -> None:
    Path("a.jpg").rename("picture")
    Path("clip.mp4").rename("film.dat")
    assert _said(parse_sources(["picture", "film.dat"])) == [("picture",), ("film.dat",)]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["missing.jpg"], "missing.jpg: does not exist"),
        (["one.jpg", "two.jpg"], "one.jpg: does not exist.*\ntwo.jpg: does not exist"),
        (["empty"], "empty: holds no images or videos .*recursive"),
        (["notes.md"], "notes.md: cannot be read as a video"),
        (["*.tiff"], r"matches no images or videos \(known endings: .* jpg "),
    ],
)
def test_when_nothing_can_be_opened(folder: Path, tokens: list[str], message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        parse_sources(tokens)


@pytest.mark.parametrize(
    "token",
    ["ftp://host/a.jpg", "gopher://x", "s3://bucket/a.jpg", "udp://239.0.0.1:1", "concat+x://a", "javascript://x"],
)
def test_other_schemes_are_refused(folder: Path, token: str) -> None:
    with pytest.raises(InputError, match="file, http, https, rtmp, rtsp"):
        parse_sources(["a.jpg", token])


@pytest.mark.parametrize(
    "token", ["http://", "http:///a.jpg", "http://[::1/a.jpg", "rtsp://host:port/", "file://other/a"]
)
def test_broken_addresses_are_refused(folder: Path, token: str) -> None:
    with pytest.raises(InputError, match=r"names no host|no valid address|another machine"):
        parse_sources(["a.jpg", token])


def test_passwords_are_not_shown(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        parse_sources(["ftp://me:secret@host/a.jpg?token=secret"])
    assert "secret" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_no_regular_file(folder: Path) -> None:
    os.mkfifo("pipe.mp4")
    with pytest.raises(InputError, match="no regular file"):
        parse_sources(["pipe.mp4"])


def test_list(folder: Path, tmp_path: Path) -> None:
    """One broken entry does not end the list."""
    other = tmp_path / "lists"
    other.mkdir()
    Image.new("RGB", (32, 24)).save(other / "near.jpg")
    (other / "sources.txt").write_text(
        f"\ufeffnear.jpg\na.jpg\r\n\n  missing.jpg  \n{folder / 'b.png'}\nclip.mp4\nother.txt\nftp://x/a.jpg\n0\ndeep\n"
        "*.jpg\n"
    )
    assert _said(parse_sources([str(other / "sources.txt")])) == [
        ("near.jpg", "a.jpg", "! missing.jpg", "b.png"),
        ("clip.mp4",),
        ("! other.txt",),
        ("! ftp://x/a.jpg",),
        ("! 0",),
        ("deep_a.png", "near_2.jpg"),
    ]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "lists nothing"), (b"\n \n", "lists nothing"), (b"\0\1", "no text")]
)
@pytest.mark.parametrize("name", ["list.txt", "list.streams"])
def test_lists_of_nothing(folder: Path, content: bytes, message: str, name: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        parse_sources([name])


def test_list_with_a_name_that_is_no_text(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("other systems allow no such names")
    name = os.fsdecode(b"\xff.jpg")
    Path("a.jpg").rename(name)
    (folder / "list.txt").write_bytes(b"\xff.jpg\n")
    assert _said(parse_sources(["list.txt"])) == [(name,)]


def test_streams_file(folder: Path) -> None:
    (folder / "cameras.streams").write_text(
        "# front\nrtsp://me:secret@127.0.0.1/front\n\nhttp://127.0.0.1/clip.mp4\n0\nclip.mp4\n"
    )
    first, second, third, fourth = parse_sources(["cameras.streams"], policy="all", video_stride=2)
    assert isinstance(first, StreamSource)
    assert isinstance(second, StreamSource)
    assert isinstance(third, CameraSource)
    assert isinstance(fourth, FailedSource)
    assert "no stream" in fourth.failure.reason
    assert first.live
    assert "secret" not in first.description


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("0", CameraSource),
        ("12", CameraSource),
        ("rtsp://127.0.0.1/a", StreamSource),
        ("rtsp://127.0.0.1/a.mp4", StreamSource),
        ("rtmp://127.0.0.1/a.jpg", StreamSource),
        ("http://127.0.0.1:8080/live", StreamSource),
        ("https://127.0.0.1/live.m3u8", StreamSource),
    ],
)
def test_live_sources(folder: Path, token: str, kind: type) -> None:
    (source,) = parse_sources([token])
    assert isinstance(source, kind)
    assert source.live
    source.close()


@pytest.mark.parametrize("host", ["youtu.be", "www.youtube.com", "m.youtube.com", "YouTube.com"])
def test_pages_of_youtube(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def init(self: YouTubeSource, url: str, **options: object) -> None:
        asked.append(url)
        self.name = "page"

    monkeypatch.setattr(YouTubeSource, "__init__", init)
    (source,) = parse_sources([f"https://{host}/watch?v=1"])
    assert isinstance(source, YouTubeSource)
    assert asked == [f"https://{host}/watch?v=1"]


@pytest.mark.parametrize("host", ["youtube.com.evil.org", "notyoutube.com"])
def test_pages_that_look_like_youtube(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_lightning.inference.sources.words.content_type", lambda url, **options: "text/html")
    (source,) = parse_sources([f"https://{host}/watch?v=1"])
    assert isinstance(source, StreamSource)


@pytest.mark.parametrize(
    "token",
    ["http://127.0.0.1/live", "rtsp://127.0.0.1/live", "https://youtu.be/1", "https://127.0.0.1/a.m3u8", "0", "screen"],
)
def test_live_sources_may_lead_anywhere(folder: Path, token: str) -> None:
    (folder / "list.streams").write_text(token)
    for word in (token, "list.streams"):
        with pytest.raises(InputError, match="private network"):
            parse_sources([word], allow_private_addresses=False)
    assert _said(parse_sources(["a.jpg"], allow_private_addresses=False)) == [("a.jpg",)]


@pytest.mark.parametrize(
    ("tokens", "screens"),
    [
        (["screen"], [(0, None)]),
        (["screen", "2"], [(2, None)]),
        (["screen 2"], [(2, None)]),
        (["screen", "10", "20", "640", "480"], [(0, (10, 20, 640, 480))]),
        (["screen", "1", "-10", "20", "640", "480"], [(1, (-10, 20, 640, 480))]),
        (["screen 1 10 20 640 480", "screen", "2"], [(1, (10, 20, 640, 480)), (2, None)]),
    ],
)
def test_screens(tokens: list[str], screens: list[tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def init(self: ScreenSource, screen: int, region: tuple | None, **options: object) -> None:
        asked.append((screen, region))
        self.name = f"screen_{screen}"

    monkeypatch.setattr(ScreenSource, "__init__", init)
    parse_sources(tokens)
    assert asked == screens


@pytest.mark.parametrize("tokens", [["screen", "1", "2"], ["screen 1 2 3"], ["screen", *"123456"]])
def test_screens_with_other_numbers(tokens: list[str]) -> None:
    with pytest.raises(InputError, match="0, 1, 4 or 5 integers"):
        parse_sources(tokens)


def test_files_called_as_a_screen_or_camera(folder: Path) -> None:
    Path("a.jpg").rename("0")
    Path("b.png").rename("screen")
    assert _said(parse_sources(["./0", "./screen"])) == [("0", "screen")]


def test_missing_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    images, video = parse_sources(["."])
    assert isinstance(video, FailedSource)
    assert "yolo-lightning[video]" in video.failure.reason
    assert len(list(images)) == 2
    assert isinstance(next(iter(video)), Failure)


def test_image_and_frame_of_equal_name(folder: Path) -> None:
    Path("a.jpg").rename("clip_3.jpg")
    names = [source.name for source in parse_sources(["clip_3.jpg", "clip.mp4"])]
    assert names == ["clip_3.jpg", "clip_2.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_names_that_are_written_alike(folder: Path) -> None:
    """Each frame has a stem of its own, and says where it is from."""
    files = ["a\nb.jpg", "a:b.jpg", "A_b.jpg", f"{'x' * 220}1.jpg", f"{'x' * 220}2.jpg"]
    for value, file in enumerate(files):
        Image.new("RGB", (32, 24), (value * 50, 0, 0)).save(file, quality=95)
    write_video(folder / "a_b.mp4")
    Path("a.jpg").rename("a_b_7.jpg")
    frames = [event for source in parse_sources([*files, "a_b_7.jpg", "a_b.mp4"]) for event in source]
    assert [frame.source for frame in frames[:6]] == [*files, "a_b_7.jpg"]
    assert len({output_stem(frame).casefold() for frame in frames}) == len(frames) == 18


def test_streams_of_equal_name(folder: Path) -> None:
    tokens = [
        *("rtsp://me:secret@127.0.0.1:8001/video", "rtsp://127.0.0.1:8002/video"),
        *("rtsp://127.0.0.1/cam?id=1", "rtsp://127.0.0.1/cam?id=2", "0", "camera_0.mp4", "0", "127_0_0_1_cam_2.mp4"),
    ]
    for name in ("camera_0.mp4", "127_0_0_1_cam_2.mp4"):
        write_video(folder / name)
    assert [source.name for source in parse_sources(tokens)] == [
        *("127_0_0_1_8001_video", "127_0_0_1_8002_video", "127_0_0_1_cam", "127_0_0_1_cam_3"),
        *("camera_0", "camera_0_2.mp4", "camera_0_3", "127_0_0_1_cam_2.mp4"),
    ]
