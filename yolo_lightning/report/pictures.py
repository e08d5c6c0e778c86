"""The pictures of a report: where they are now, and smaller copies of them."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

import cv2

from yolo_lightning.data.images import read_image
from yolo_lightning.data.problems import Problem

__all__ = ["PictureFinder", "encode_picture", "shown_names"]

_QUALITY = 80
# Rounding of a smaller copy; more means that it is another picture, on which the boxes would be wrong.
_ASPECT_TOLERANCE = 0.02


class PictureFinder:
    """Finds the images of an evaluation, also after they were moved.

    Args:
        root: Folder to look in first: for as many of the last parts of the recorded path as there are, then for the
            file name anywhere below. None looks at the recorded path only.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root

    def find(self, recorded: str) -> Path | str:
        """The file of an image, or why there is none, given the path that the evaluation recorded."""
        ambiguous = None
        if self.root is not None and (parts := _parts(recorded)):
            for first in range(len(parts)):
                if (moved := self.root.joinpath(*parts[first:])).is_file():
                    return moved
            below = self._by_name.get(parts[-1], [])
            if len(below) == 1:
                return below[0]
            if below:
                ambiguous = f"{len(below)} files of its name are in {self.root.name}, and no folder tells which it is"
        if (path := Path(recorded)).is_file():
            return path
        return ambiguous or "does not exist any more"

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for folder, folders, files in os.walk(self.root or "."):
            folders.sort()
            for name in sorted(files):
                found.setdefault(name, []).append(Path(folder, name))
        return found


def encode_picture(path: Path, size: tuple[int, int], longest_side: int) -> bytes | str:
    """Reads an image and makes a JPEG of it whose sides are at most ``longest_side``.

    Args:
        path: The image file; it is only read.
        size: Height and width in pixels that the evaluation recorded.
        longest_side: In pixels; smaller images keep their size.

    Returns:
        The JPEG, or why there is none.
    """
    image = read_image(str(path))
    if isinstance(image, Problem):
        return image.what
    height, width = image.shape[:2]
    if abs(width * size[0] - height * size[1]) > _ASPECT_TOLERANCE * height * size[1]:
        return f"is {width} × {height} pixels, but was {size[1]} × {size[0]} when it was evaluated: another picture"
    if (scale := longest_side / max(height, width)) < 1:
        smaller_wh = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, smaller_wh, interpolation=cv2.INTER_AREA).astype(image.dtype, copy=False)
    done, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes() if done else "cannot be written as a JPEG"


def shown_names(recorded: tuple[str, ...]) -> list[str]:
    """The paths from the folder on that all images share: a page that is passed on tells nothing of the machine."""
    split = [[part for part in re.split(r"[/\\]", path) if part] or [path] for path in recorded]
    shared = 0
    if split:
        least = min(len(parts) for parts in split) - 1
        while shared < least and len({parts[shared] for parts in split}) == 1:
            shared += 1
    return ["/".join(parts[shared:]) for parts in split]


def _parts(recorded: str) -> list[str]:
    """The parts of a path of any system, without those that lead out of a folder."""
    return [part for part in re.split(r"[/\\]", recorded) if part not in ("", ".", "..") and not part.endswith(":")]
