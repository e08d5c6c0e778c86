"""The files that a path, a folder or a pattern stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from yolo_lightning.data.files import IMAGE_SUFFIXES
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure
from yolo_lightning.inference.sources.video import VIDEO_SUFFIXES

__all__ = ["MEDIA_SUFFIXES", "ImageFile", "VideoFile", "find_media", "media_file", "suffix"]

MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""File name endings that count as pictures or videos, in lower case."""


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Args:
        path: Where it is.
        description: What it is called when shown; None: the path.
    """

    path: str
    description: str | None = None


@dataclass(frozen=True)
class VideoFile:
    """A video file.

    Args:
        path: Where it is.
        description: What it is called when shown; None: the path.
    """

    path: str
    description: str | None = None


def suffix(path: str) -> str:
    """Ending of a file name, in lower case."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def media_file(path: str, description: str | None = None) -> ImageFile | VideoFile:
    """The file as what its ending says, or its first bytes if that is not known."""
    ending = suffix(path)
    if ending in IMAGE_SUFFIXES or (ending not in VIDEO_SUFFIXES and _looks_like_image(path)):
        return ImageFile(path, description)
    return VideoFile(path, description)


def find_media(
    name: str, folders: Sequence[str] = ("",), *, recursive: bool = False
) -> Iterator[ImageFile | VideoFile | Failure]:
    """The images, then the videos that a name stands for, each sorted.

    Args:
        name: A file; a folder, in which hidden files and those with other endings are passed over; or a pattern, where
            ``**`` stands for folders of any depth.
        folders: Where a relative name may count from; the first in which there is something is taken.
        recursive: Whether the folders in a folder are searched, too; links are followed, once.

    Raises:
        InputError: If there is nothing of the name, or no media in it.
    """
    paths = [os.path.join(folder, name) for folder in folders]  # noqa: PTH118
    path = next(filter(os.path.lexists, paths), None)
    if path is None:
        yield from _match(name, folders)
    elif os.path.isdir(path):  # noqa: PTH112
        yield from _list(path, recursive)
    elif os.path.isfile(path):  # noqa: PTH113
        yield media_file(path)
    elif os.path.exists(path):  # noqa: PTH110
        raise InputError("is no regular file; for a camera, give its number")
    else:
        raise InputError(f"is a link to {os.readlink(path)}, which does not exist")  # noqa: PTH115


def _match(name: str, folders: Sequence[str]) -> Iterator[ImageFile | VideoFile]:
    if not glob.has_magic(name) or "\0" in name:
        raise InputError("does not exist: give a file, a folder, a pattern, an address, or the number of a camera")
    for folder in folders:
        pattern = os.path.join(glob.escape(folder), name)  # noqa: PTH118
        found = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]  # noqa: PTH113, PTH207
        if media := _sorted(found):
            yield from media
            return
    raise InputError(f"matches no images or videos ({_endings()})")


def _list(folder: str, recursive: bool) -> Iterator[ImageFile | VideoFile | Failure]:
    errors: list[OSError] = []
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        status = os.stat(place)  # noqa: PTH116
        is_new = (status.st_dev, status.st_ino) not in seen  # links may lead in circles
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [each for each in folders if recursive and is_new and not each.startswith(".")]
        if is_new:
            found += [os.path.join(place, file) for file in files if not file.startswith(".")]  # noqa: PTH118
    media = _sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113
    if not media and not errors:
        hint = "" if recursive else "; folders in it are searched only with the option recursive"
        raise InputError(f"holds no images or videos ({_endings()}){hint}")
    yield from media
    yield from (Failure(str(error.filename), f"cannot be searched ({error.strerror})") for error in errors)


def _sorted(paths: Iterator[str] | Sequence[str]) -> list[ImageFile | VideoFile]:
    media = [media_file(path) for path in sorted(paths) if suffix(path) in MEDIA_SUFFIXES]
    return sorted(media, key=lambda file: isinstance(file, VideoFile))


def _endings() -> str:
    return "known endings: " + " ".join(sorted(ending[1:] for ending in MEDIA_SUFFIXES))


def _looks_like_image(path: str) -> bool:
    try:
        with Image.open(path) as image:  # reads the header only
            return image.format != "GIF"  # which counts as a video, as by its ending
    except Exception:  # decoders raise anything at all when bytes are wrong
        return False
