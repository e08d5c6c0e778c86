"""Checking an image file without decoding it, and decoding it."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from yolo_lightning.data.problems import Problem

__all__ = ["ImageHeader", "apply_orientation", "check_image", "decode_image", "read_image"]

MIN_SIDE = 10
_FORMATS = frozenset({"BMP", "DNG", "JPEG", "MPO", "PNG", "TIFF", "WEBP"})
_JPEG = frozenset({"JPEG", "MPO"})
_ORIENTATION_TAG = 274
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True)
class ImageHeader:
    """What the data set knows of an image without decoding it.

    Args:
        size: (height, width) in pixels after orientation.
        orientation: EXIF orientation that remains to be applied to the decoded pixels, 1 to 8.
    """

    size: tuple[int, int]
    orientation: int = 1


def check_image(path: str) -> ImageHeader | Problem:
    """Reads the header of an image and checks that the file is whole; JPEG and PNG are not decoded for it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which says nothing about the pixels
            header, kind = _read_header(path)
    except Exception as error:  # decoders raise anything at all when bytes are wrong
        return _problem(path, error)
    if kind not in _FORMATS:
        return Problem(path, None, "image_format", f"is a {kind} file", "convert it to JPEG or PNG")
    if min(header.size) < MIN_SIDE:
        height, width = header.size
        what = f"is {width} × {height} pixels, sides must have at least {MIN_SIDE}"
        return Problem(path, None, "image_too_small", what, "remove it or use a larger one")
    return header


def read_image(path: str) -> npt.NDArray[np.uint8] | Problem:
    """Reads an image file of any format that OpenCV or Pillow know, decoded once, or tells what is wrong with it.

    Other than :func:`check_image`, it takes images of any size; the limit is Pillow's against decompression bombs. Of
    a file that holds several images, such as the pages of a TIFF or an animation, it reads the first, and warns.

    Returns:
        (H, W, 3) RGB, turned upright; colours as from :func:`decode_image`.
    """
    try:
        image, num_images = _decode_file(Path(path).read_bytes())
    except Exception as error:  # decoders raise anything at all when bytes are wrong
        return _problem(path, error)
    if num_images > 1:
        what = f"only the first of its {num_images} images is read, {num_images - 1} are left out"
        warnings.warn(f"{path!r}: {what}; save them as files of their own, or as a video", stacklevel=2)
    return image


def decode_image(content: npt.NDArray[np.uint8], reduction: int = 1) -> npt.NDArray[np.uint8] | None:
    """Decodes an image file to (H, W, 3) RGB without applying its orientation; None if that fails.

    Grey images get three equal channels, 16 bits become 8, transparency is dropped.

    Args:
        content: Bytes of the file.
        reduction: 1, 2, 4 or 8: sides are divided by it and rounded up. Only JPEG, whose decoder does it well
            and saves time by it, is reduced; for others it is ignored.
    """
    is_jpeg = content[:2].tobytes() == b"\xff\xd8"
    flag = _REDUCED[reduction] if reduction > 1 and is_jpeg else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(content, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if image is None:
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def apply_orientation(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turns an image upright, given its EXIF orientation (1 to 8)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _problem(path: str, error: Exception) -> Problem:
    if isinstance(error, Image.DecompressionBombError):
        return Problem(path, None, "image_too_large", str(error), "cut the image into tiles")
    what: object = error.strerror if isinstance(error, OSError) and error.strerror else error
    if isinstance(error, UnidentifiedImageError):  # whose message shows an object in memory
        what = "its format is not known"
    what = f"cannot be read as an image ({type(error).__name__}: {what})".replace("\n", " ")
    return Problem(path, None, "unreadable_image", what, "restore or remove the file")


def _decode_file(content: bytes) -> tuple[npt.NDArray[np.uint8], int]:
    """The first image, and how many there are."""
    if not content:
        raise ValueError("the file is empty")
    stream = io.BytesIO(content)
    ends_as_jpeg = _ends_as_jpeg(stream)
    with Image.open(stream) as image:  # reads the header only
        kind = image.format or "unknown"
        orientation = _orientation(image, kind)
        num_images = _num_images(image, kind)
        if kind == "PNG":
            image.verify()
    # OpenCV tells itself when a file is cut off, but not of a JPEG, of which it makes grey pixels
    if kind not in _JPEG or ends_as_jpeg:
        pixels = decode_image(np.frombuffer(content, np.uint8))
        if pixels is not None:
            return apply_orientation(pixels, orientation), num_images
    stream.seek(0)
    with Image.open(stream) as image:  # other formats, a JPEG with something behind it, or the reason why it fails
        return apply_orientation(np.array(image.convert("RGB")), orientation), num_images


def _num_images(image: Image.Image, kind: str) -> int:
    """How many images a file holds; those behind the first of an MPO are other views of it, as cameras add them."""
    if kind == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # the first one may be good all the same
        return 1


def _read_header(path: str) -> tuple[ImageHeader, str]:
    with open(path, "rb") as file:  # noqa: PTH123
        ends_well = _ends_as_jpeg(file)
        with Image.open(file) as image:
            kind = image.format or "unknown"
            width, height = image.size
            orientation = _orientation(image, kind)
            if kind == "PNG":
                image.verify()
            elif not (kind in _JPEG and ends_well):
                image.load()
                if kind == "TIFF":  # Pillow turns it while loading, as OpenCV does
                    width, height = image.size
    size = (width, height) if orientation >= 5 else (height, width)
    return ImageHeader(size, orientation), kind


def _ends_as_jpeg(file: BinaryIO) -> bool:
    """Whether the last bytes are the end marker of a JPEG, perhaps followed by padding."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 64))
    tail = file.read()
    file.seek(0)
    return tail.rstrip(b"\x00").endswith(b"\xff\xd9")


def _orientation(image: Image.Image, kind: str) -> int:
    if kind == "TIFF" or (kind == "PNG" and "exif" not in image.info):  # getexif would decode the PNG to look further
        return 1
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation if orientation in range(1, 9) else 1
