"""What one word of the command line, or one line of a list, stands for."""

from __future__ import annotations

import atexit
import glob
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from yolo_lightning.data.files import IMAGE_SUFFIXES
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Source
from yolo_lightning.inference.sources.files import MEDIA_SUFFIXES, ImageFile, VideoFile, find_media, media_file, suffix
from yolo_lightning.inference.sources.web import download
from yolo_lightning.web import content_type, redact

if TYPE_CHECKING:
    from yolo_lightning.inference.streams import LiveOptions

__all__ = ["Item", "WordReader", "check_word", "split_words"]

Item = ImageFile | VideoFile | Failure | Source

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NUMBER = re.compile(r"[0-9]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SCHEMES = ("file", "http", "https", "rtmp", "rtsp")
_STREAM_SUFFIXES = (".m3u8", ".mjpeg", ".mjpg", ".mpd")
_YOUTUBE = ("youtube.com", "youtu.be", "youtube-nocookie.com")


def split_words(tokens: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """The tokens, with the integers after ``screen`` joined to it."""
    waiting = deque(os.fspath(token) for token in tokens)
    while waiting:
        words = [waiting.popleft()]
        while words[0] == "screen" and waiting and _INTEGER.fullmatch(waiting[0]):
            words.append(waiting.popleft())
        yield " ".join(words)


def check_word(word: str) -> None:
    """Makes sure that a word can mean something.

    Raises:
        InputError: If it is an address of another scheme or of no host, or a screen with too few or many numbers.
    """
    if scheme := _URL.match(word):
        if scheme[1].lower() not in _SCHEMES:
            raise InputError(f"{redact(word)}: {scheme[1]}:// is none of the schemes {', '.join(_SCHEMES)}")
        _host(word)
    elif _is_screen(word):
        _screen(word)


class WordReader:
    """Turns words into files, live sources and failures.

    Args:
        recursive: Whether the folders in a folder are searched, too.
        allow_private: Whether an address may be in a private network; if not, there are no live sources.
        downloads: Folder for what is downloaded.
        options: For live sources.
    """

    def __init__(self, recursive: bool, allow_private: bool, downloads: Path | None, options: LiveOptions) -> None:
        self._recursive, self._allow_private = recursive, allow_private
        self._downloads, self._options = downloads, options

    def items(self, word: str) -> list[Item]:
        """What a word of the command line stands for."""
        ending = suffix(word)
        if ending == ".streams" and os.path.isfile(word):  # noqa: PTH113
            return self._each(word, self._stream)
        if ending == ".txt" and os.path.isfile(word):  # noqa: PTH113
            folders = (os.path.dirname(word), "")  # noqa: PTH120
            return self._each(word, lambda line: self._listed(line, folders))
        if _NUMBER.fullmatch(word) or _is_screen(word):
            return self._try(word, self._stream)
        return self._try(word, self._files)

    def _try(self, word: str, read: Callable[[str], list[Item]]) -> list[Item]:
        try:
            return read(word)
        except InputError as error:
            shown = redact(word) if _URL.match(word) else word
            return [Failure(shown, str(error).removeprefix(f"{shown}: "))]

    def _each(self, file: str, read: Callable[[str], list[Item]]) -> list[Item]:
        """What the lines of a file stand for."""
        try:
            lines = _lines(file)
        except InputError as error:
            return [Failure(file, str(error))]
        return [item for line in lines for item in self._try(line, read)]

    def _listed(self, line: str, folders: Sequence[str]) -> list[Item]:
        """A line of a list of files."""
        check_word(line)
        if _URL.match(line):
            return self._files(line)
        if suffix(line) in (".txt", ".streams"):
            raise InputError("is a list, which a list cannot name")
        try:
            return list(find_media(line, folders, recursive=self._recursive))
        except InputError:
            if suffix(line) in IMAGE_SUFFIXES and not glob.has_magic(line):
                return [ImageFile(os.path.join(folders[0], line), line)]  # noqa: PTH118 - fails among the images around
            raise

    def _files(self, word: str) -> list[Item]:
        """An address, a file, folder or pattern."""
        if not _URL.match(word):
            return list(find_media(word, recursive=self._recursive))
        parts = urlsplit(word)
        if parts.scheme == "file":
            return list(find_media(url2pathname(parts.path), recursive=self._recursive))
        if parts.scheme in ("http", "https") and self._is_file(word, suffix(unquote(parts.path))):
            path = download(word, self._download_folder(), allow_private=self._allow_private)
            return [media_file(str(path), redact(word))]
        return self._stream(word)

    def _is_file(self, url: str, ending: str) -> bool:
        """Whether a picture or video is to be downloaded; the server is asked if the ending does not tell."""
        if ending in MEDIA_SUFFIXES:
            return True
        if ending in _STREAM_SUFFIXES or _is_page(url):
            return False
        return (content_type(url, allow_private=self._allow_private) or "").startswith("image/")

    def _stream(self, word: str) -> list[Item]:
        """A camera, a screen or a stream."""
        check_word(word)
        from yolo_lightning.inference.streams import CameraSource, ScreenSource, StreamSource, YouTubeSource

        if not self._allow_private:
            raise InputError(
                "cameras, screens, streams and pages are not opened here, because they may lead into the private "
                "network; give a picture or a video"
            )
        if _NUMBER.fullmatch(word):
            return [CameraSource(int(word), **self._options)]
        if _is_screen(word):
            return [ScreenSource(*_screen(word), **self._options)]
        if not _URL.match(word):
            raise InputError("is no stream: give an address, the number of a camera, or a screen")
        if _is_page(word):
            return [YouTubeSource(word, **self._options)]
        return [StreamSource(word, **self._options)]

    def _download_folder(self) -> Path:
        if self._downloads is None:
            self._downloads = Path(tempfile.mkdtemp(prefix="yolo-lightning-"))
            atexit.register(shutil.rmtree, self._downloads, ignore_errors=True)
        return self._downloads


def _is_screen(word: str) -> bool:
    parts = word.split()
    return parts[:1] == ["screen"] and all(map(_INTEGER.fullmatch, parts[1:]))


def _screen(word: str) -> tuple[int, tuple[int, int, int, int] | None]:
    """Number and region (left, top, width, height) of a screen."""
    numbers = [int(part) for part in word.split()[1:]]
    if len(numbers) not in (0, 1, 4, 5):
        raise InputError(
            f"{word}: screen takes 0, 1, 4 or 5 integers, [number] [left top width height], and has {len(numbers)}; "
            'put quotes round it if a camera comes next: "screen 0" 1'
        )
    if len(numbers) < 4:
        return (numbers or [0])[0], None
    left, top, width, height = numbers[-4:]
    return (numbers[0] if len(numbers) == 5 else 0), (left, top, width, height)


def _host(url: str) -> str:
    """The host of an address, in lower case."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{redact(url)}: is no valid address ({error})") from error
    if parts.scheme == "file" and host not in ("", "localhost"):
        raise InputError(f"{redact(url)}: is on another machine; give file:///path of a file on this one")
    if parts.scheme != "file" and not host:
        raise InputError(f"{redact(url)}: names no host")
    return host


def _is_page(url: str) -> bool:
    host = _host(url)
    return any(host == site or host.endswith(f".{site}") for site in _YOUTUBE)


def _lines(file: str) -> list[str]:
    """Lines that say something; those that begin with # say so to people only if the file lists streams."""
    try:
        content = Path(file).read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if b"\0" in content:
        raise InputError("is no text; list one source per line")
    lines = [line.strip() for line in os.fsdecode(content).split("\n")]  # names may hold other line separators
    lines = [line for line in lines if line and not (suffix(file) == ".streams" and line.startswith("#"))]
    if not lines:
        raise InputError("lists nothing; list one source per line")
    return lines
