"""Sources as a person names them on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Source
from yolo_lightning.inference.sources.failed import FailedSource
from yolo_lightning.inference.sources.files import ImageFile, VideoFile
from yolo_lightning.inference.sources.images import ImageSource
from yolo_lightning.inference.sources.names import stems_of_frames, unique_names
from yolo_lightning.inference.sources.video import VideoSource
from yolo_lightning.inference.sources.words import Item, WordReader, check_word, split_words

if TYPE_CHECKING:
    from yolo_lightning.inference.streams import LiveOptions

__all__ = ["parse_sources"]


def parse_sources(
    tokens: Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    video_stride: int = 1,
    allow_private_addresses: bool = True,
    downloads: Path | None = None,
    **options: Unpack[LiveOptions],
) -> list[Source]:
    """Opens what a person names, in that order.

    - a file: an image, or a video; a folder: its images, then its videos; a pattern such as ``"*.jpg"``
    - ``list.txt``: a file, folder, pattern or address in each line; names count from the folder of the list, or from
      the working directory
    - ``list.streams``: a stream, camera or screen in each line; a line that begins with ``#`` is passed over
    - an integer: a camera; ``./0`` is a file
    - ``screen [number] [left top width height]``: what a screen shows; all integers that follow are its own, so put
      quotes round it if a camera comes next
    - ``http://`` or ``https://`` with the ending of an image or video, or if the server says that it is an image:
      downloaded, then as a file; else a stream, as is every address in a list of streams
    - ``rtsp://`` or ``rtmp://``: a stream; ``file://``: a file
    - a page of YouTube: its video

    Images that follow each other become one source. What cannot be opened becomes a :class:`FailedSource`, so that the
    others can be read. No two names are such that outputs would be called the same; see :func:`unique_names`.

    Args:
        tokens: The words, one or more.
        recursive: Whether the folders in a folder are searched, too.
        video_stride: Only every so-many-th frame of videos and streams is given.
        allow_private_addresses: Whether an address may be in a private network. If not, there are no cameras, screens,
            streams or pages either, for they may lead anywhere; only pictures and videos are downloaded, from public
            addresses. Local files and ``file://`` are still read: whoever serves others hands over bytes, not paths.
        downloads: Folder for what is downloaded; None takes one that is removed when the program ends.
        options: For live sources, as in :class:`yolo_lightning.inference.streams.LiveSource`.

    Raises:
        InputError: If a word means nothing, or none of them can be opened.
    """
    if video_stride < 1:
        raise InputError(f"the video stride is {video_stride}; it must be at least 1")
    options["stride"] = video_stride
    words = list(split_words(tokens))
    if not words:
        raise InputError("there is no source: give a file, a folder, a pattern, an address, or the number of a camera")
    for word in words:
        check_word(word)
    reader = WordReader(recursive, allow_private_addresses, downloads, options)
    sources = _as_sources([item for word in words for item in reader.items(word)], video_stride)
    failures = [source.failure for source in sources if isinstance(source, FailedSource)]
    if len(failures) == len(sources):
        raise InputError("\n".join(f"{failure.source}: {failure.reason}" for failure in failures))
    return sources


def _as_sources(items: Sequence[Item], video_stride: int) -> list[Source]:
    """Opens the videos, joins images that follow each other, and gives all their names."""
    image_names = unique_names([item.path for item in items if isinstance(item, ImageFile)])
    videos = [item for item in items if isinstance(item, VideoFile | Source)]
    video_paths = [item.path if isinstance(item, VideoFile) else item.name for item in videos]
    video_names = iter(unique_names(video_paths, stems_of_frames(image_names)))
    images = iter(image_names)
    sources: list[Source] = []
    for kind, group in groupby(items, type):
        if kind is ImageFile:
            files = [item for item in group if isinstance(item, ImageFile)]
            names = list(islice(images, len(files)))
            shown = [file.description or file.path for file in files]
            sources.append(ImageSource([file.path for file in files], names, descriptions=shown))
            continue
        for item in group:
            if isinstance(item, VideoFile):
                sources.append(_open_video(item, video_stride, next(video_names)))
            elif isinstance(item, Failure):
                sources.append(FailedSource(item))
            elif isinstance(item, Source):
                item.name = next(video_names)
                sources.append(item)
    return sources


def _open_video(file: VideoFile, stride: int, name: str) -> Source:
    shown = file.description or file.path
    try:
        return VideoSource(file.path, stride, name, description=shown)
    except InputError as error:
        return FailedSource(Failure(shown, str(error).removeprefix(f"{file.path}: ")))
