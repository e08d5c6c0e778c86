"""Videos of web pages, with a resolver of our own and by yt-dlp on a page of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.inference.streams.fakes import capture_threads, kinds, motion_jpeg, value_of
from tests.inference.streams.test_network import QUICK as NETWORK
from tests.inference.streams.test_network import files, video
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Frame, Gap
from yolo_lightning.inference.streams import YouTubeSource
from yolo_lightning.inference.streams.youtube import VideoPage

pytest.importorskip("av")
PAGE = "https://video.example/watch?v=abc"
QUICK: dict[str, Any] = {key: value for key, value in NETWORK.items() if key != "open_timeout"}


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert capture_threads() == []


def test_a_recording_is_read_as_a_video(tmp_path: Path) -> None:
    with files({"/v": video(tmp_path, 50)}) as server:
        page = VideoPage(f"{server.url}/v", "Cats & dogs: the film!", fps=25, duration=2.0)
        source = YouTubeSource(PAGE, resolve=lambda url: page, stride=4, **QUICK)
        assert (source.live, source.fps, source.num_frames) == (False, 6.25, 13)
        frames = list(source)
    assert [frame.number for frame in frames] == list(range(0, 50, 4))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(0, 50, 4)], abs=0.01)
    assert {(frame.source, frame.name) for frame in frames} == {
        ("Cats & dogs: the film! (https://video.example/watch?v=***)", "Cats_dogs_the_film")
    }


def test_addresses_are_looked_up_again_when_the_connection_is_lost(tmp_path: Path) -> None:
    content = video(tmp_path, 80)
    asked = []
    with files({"/v1": content, "/v2": content}, cut=len(content) // 2) as server:

        def resolve(url: str) -> VideoPage:
            asked.append(url)
            return VideoPage(f"{server.url}/v{len(asked)}", "talk")

        events = list(YouTubeSource(PAGE, resolve=resolve, **QUICK))
    assert asked == [PAGE, PAGE]
    assert kinds(event for event in events if not isinstance(event, Frame)) == [Gap]
    assert len(events) == 81


def test_a_broadcast_is_live() -> None:
    with motion_jpeg() as server:
        server.serve = server.steady
        source = YouTubeSource(PAGE, resolve=lambda url: VideoPage(server.url, "news", live=True), **QUICK)
        assert (source.live, source.num_frames) == (True, None)
        assert isinstance(next(iter(source)), Frame)


def test_headers_of_the_page_are_sent() -> None:
    with motion_jpeg() as server:
        server.serve = server.steady
        page = VideoPage(server.url, "news", live=True, headers={"Authorization": "Basic abc", "Referer": "x"})
        next(iter(YouTubeSource(PAGE, resolve=lambda url: page, **QUICK)))
        assert server.paths[0][1] == "Basic abc"


def test_a_page_that_is_gone_later_is_a_failure(tmp_path: Path) -> None:
    content = video(tmp_path, 80)
    with files({"/v": content}, cut=len(content) // 2) as server:
        pages = iter([VideoPage(f"{server.url}/v", "talk")])

        def resolve(url: str) -> VideoPage:
            try:
                return next(pages)
            except StopIteration:
                raise InputError("the video was removed") from None

        events = list(YouTubeSource(PAGE, resolve=resolve, **(QUICK | {"max_retries": 1})))
    assert [kind for kind in kinds(events) if not isinstance(kind, int)] == [Gap, Failure]
    assert "the video was removed" in events[-1].reason


@pytest.mark.parametrize("address", ["", "watch?v=abc", "ftp://video.example/", "rtsp://video.example/"])
def test_other_addresses(address: str) -> None:
    with pytest.raises(InputError, match="is no address of the form http://…, https://…"):
        YouTubeSource(address)


def test_yt_dlp_finds_the_video_of_a_page(tmp_path: Path) -> None:
    pytest.importorskip("yt_dlp")
    html = b"<html><head><title>Talk</title></head><body><video src='/v.mp4'></video></body></html>"
    with files({"/page": html, "/v.mp4": video(tmp_path, 20)}) as server:
        frames = list(YouTubeSource(f"{server.url}/page", **QUICK))
        assert [value_of(frame) for frame in frames] == pytest.approx([2 * index + 11.5 for index in range(20)], abs=3)


def test_yt_dlp_finds_nothing() -> None:
    pytest.importorskip("yt_dlp")
    with files({"/page": b"<html><body>words</body></html>"}) as server:
        with pytest.raises(InputError, match="page gives no video") as error:
            YouTubeSource(f"{server.url.replace('//', '//me:hunter2@')}/page")
        assert "hunter2" not in str(error.value)
        with pytest.raises(InputError, match="gives no video"):
            YouTubeSource(f"{server.url}/missing")
