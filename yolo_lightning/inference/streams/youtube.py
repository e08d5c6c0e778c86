"""Videos on pages of YouTube and the like."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Unpack
from urllib.parse import urlsplit

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.inference.streams.capture import CaptureError
from yolo_lightning.inference.streams.live import LiveOptions, LiveSource
from yolo_lightning.inference.streams.network import VideoCapture, parse_address
from yolo_lightning.web import redact

__all__ = ["VideoPage", "YouTubeSource", "resolve_page"]

# One file or playlist with a picture, sound or none: parts that would have to be put together first are left out.
_FORMAT = "bv*[protocol~='^(https?|m3u8|m3u8_native)$']/b"
_BEST = ["res:1080", "ext:mp4"]


@dataclass(frozen=True)
class VideoPage:
    """Where the video of a page is.

    Args:
        url: Address of the video, valid for some hours.
        title: What the page calls it.
        live: Whether it is being broadcast.
        fps: Frames per second, if known.
        duration: Seconds, if known.
        headers: What a request for the video has to say.
    """

    url: str
    title: str
    live: bool = False
    fps: float | None = None
    duration: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class YouTubeSource(LiveSource):
    """The video of a page of YouTube, or of another site that yt-dlp knows.

    A broadcast is a live source. A recording is not: all its frames come, in order, with times from its start, and it
    ends; if the connection is lost, it goes on where it stopped.

    Args:
        url: Address of the page.
        resolve: Finds the video of a page; called again for each connection, because addresses expire.
        options: As in :class:`LiveSource`.

    Raises:
        InputError: If the page has no video, cannot be had, or yt-dlp or PyAV is not installed.
    """

    def __init__(
        self, url: str, *, resolve: Callable[[str], VideoPage] | None = None, **options: Unpack[LiveOptions]
    ) -> None:
        parse_address(url, "http", "https")
        require("av", "youtube", "to read videos")
        resolve = resolve or resolve_page
        first = resolve(url)
        timeout = (10.0, options.get("stall_timeout", 5.0))
        super().__init__(
            lambda: _PageCapture(url, resolve, timeout, first if self.num_connections == 0 else None),
            name=re.sub(r"\W+", "_", first.title).strip("_")[:100] or "video",
            description=f"{first.title} ({redact(url)})" if first.title else redact(url),
            **options,
        )
        self.live = first.live
        stride = options.get("stride", 1)
        if first.fps:
            self.fps = first.fps / stride
            if first.duration and not first.live:
                self.num_frames = ceil(first.duration * first.fps / stride)


class _PageCapture(VideoCapture):
    """The video of a page.

    Args:
        address: Address of the page.
        resolve: Finds its video.
        timeout: As in :class:`VideoCapture`.
        page: What was found already.
    """

    def __init__(
        self,
        address: str,
        resolve: Callable[[str], VideoPage],
        timeout: tuple[float, float],
        page: VideoPage | None,
    ) -> None:
        super().__init__("", timeout)
        self._address, self._resolve, self._page = address, resolve, page

    def open(self) -> None:
        try:
            page = self._page or self._resolve(self._address)
        except InputError as error:
            raise CaptureError(str(error)) from error
        self._url = page.url
        self._further = {"headers": "".join(f"{key}: {value}\r\n" for key, value in page.headers.items())}
        super().open()


def resolve_page(url: str) -> VideoPage:
    """Finds the best video of at most 1080 lines, by yt-dlp's Python interface, which reads no configuration files.

    Args:
        url: Address of the page; of a list, its first video is taken.

    Raises:
        InputError: If yt-dlp finds none; the message says why.
    """
    yt_dlp = require("yt_dlp", "youtube", "to read videos of web pages")
    options = {
        "format": _FORMAT,
        "format_sort": _BEST,
        "playlist_items": "1",
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": logging.getLogger(__name__),
        "cachedir": False,
        "socket_timeout": 10,
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(url, download=False)
    except yt_dlp.utils.YoutubeDLError as error:
        reason = re.sub(r"\x1b\[[0-9;]*m|^ERROR: ", "", str(error))
        raise InputError(f"{redact(url)} gives no video: {reason.replace(url, redact(url))}") from error
    return _page(info, url)


def _page(info: Any, url: str) -> VideoPage:
    """What is used of yt-dlp's answer."""
    while info and "entries" in info:
        info = next(iter(info["entries"]), None)
    if not info or urlsplit(info.get("url") or "").scheme not in ("http", "https"):
        raise InputError(f"{redact(url)} gives no video that can be read over http or https")
    return VideoPage(
        url=info["url"],
        title=info.get("title") or info.get("id") or "",
        live=bool(info.get("is_live")),
        fps=info.get("fps"),
        duration=info.get("duration"),
        headers=info.get("http_headers") or {},
    )
