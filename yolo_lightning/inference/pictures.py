"""Pictures cut out of images, and pictures as files that never replace others."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from yolo_lightning.inference.frames import Frame
from yolo_lightning.paths import safe_name, write_new_file

__all__ = ["class_directories", "crop_image", "encode_jpeg", "file_stem", "output_stem", "save_crop", "save_picture"]

Picture = npt.NDArray[np.uint8]

_FILE_ENDING = re.compile(r"\.(?=\w*[A-Za-z])\w{1,5}\Z")
_LOSSLESS = frozenset({".bmp", ".png", ".tif", ".tiff"})
_LOSSY = frozenset({".jpeg", ".jpg", ".webp"})
_QUALITY = 95


def crop_image(image: Picture, box: npt.ArrayLike, gain: float = 1.02, padding: float = 10.0) -> Picture:
    """Cuts a box with some surroundings out of an image, as YOLOv5's ``--save-crop`` does.

    Args:
        image: (H, W, 3) uint8, of at least one pixel.
        box: (4,) xyxy pixels of the image.
        gain: The sides of the box are multiplied by it.
        padding: Pixels then added to each side's length, half of them at each end.

    Returns:
        A new picture of at least one pixel; what is outside the image is left out.
    """
    left, top, right, bottom = np.asarray(box, dtype=np.float64).tolist()
    columns = _widened(left, right, gain, padding, image.shape[1])
    rows = _widened(top, bottom, gain, padding, image.shape[0])
    return image[rows, columns].copy()


def _widened(low: float, high: float, gain: float, padding: float, length: int) -> slice:
    centre, half = (low + high) / 2, ((high - low) * gain + padding) / 2
    start = int(min(max(centre - half, 0), length - 1))
    return slice(start, max(int(min(max(centre + half, 0), length)), start + 1))


def file_stem(name: str) -> str:
    """The plain name of outputs of a source of this name: without the ending of a file, fit for any file system."""
    return safe_name(_FILE_ENDING.sub("", name))


def output_stem(frame: Frame) -> str:
    """Plain name, without an ending, for the files of a frame: ``bus``, or ``clip_12`` for frame 12 of a video."""
    stem = file_stem(frame.name)
    return stem if frame.number is None else f"{stem}_{frame.number}"


def class_directories(class_names: Sequence[str]) -> tuple[str, ...]:
    """A safe directory name for each class, all different on any file system."""
    return _class_directories(tuple(class_names))


@lru_cache(maxsize=8)  # asked for with every frame of a video
def _class_directories(class_names: tuple[str, ...]) -> tuple[str, ...]:
    directories: dict[str, str] = {}  # by what file systems compare
    for name in class_names:
        safe = safe_name(name)
        numbered = (safe if number == 1 else f"{safe}-{number}" for number in count(1))
        unique = next(candidate for candidate in numbered if candidate.casefold() not in directories)
        directories[unique.casefold()] = unique
    return tuple(directories.values())


def save_crop(crop: Picture, directory: Path, stem: str) -> Path:
    """Writes ``directory/stem.jpg``, or ``stem-2.jpg`` … if it exists; makes the directory.

    Raises:
        OSError: If it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return write_new_file(directory / f"{stem}.jpg", encode_jpeg(crop))


def save_picture(picture: Picture, directory: Path, frame: Frame) -> Path:
    """Writes a picture under the name of its frame, as the same kind of file where that is one for pictures, else JPEG.

    Raises:
        OSError: If it cannot be written.
    """
    suffix = Path(frame.name).suffix.lower()
    if frame.number is not None or suffix not in _LOSSLESS | _LOSSY:
        suffix = ".jpg"
    if suffix in (".jpg", ".jpeg"):
        content = encode_jpeg(picture)
    else:
        buffer = io.BytesIO()
        options = {} if suffix in _LOSSLESS else {"quality": _QUALITY}
        Image.fromarray(picture).save(buffer, Image.registered_extensions()[suffix], **options)
        content = buffer.getvalue()
    return write_new_file(directory / f"{output_stem(frame)}{suffix}", content)


def encode_jpeg(picture: Picture, quality: int = _QUALITY) -> bytes:
    """A picture as the content of a JPEG file, with its colours in full resolution."""
    # By OpenCV, which lets other threads work meanwhile.
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling))
    return content.tobytes()
