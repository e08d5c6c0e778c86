"""Pictures on the screen or in a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageShow

from yolo_lightning.drawing import draw_detections, draw_grid
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame
from yolo_lightning.types import Detections

__all__ = ["draw_preview", "show_picture"]

Picture = npt.NDArray[np.uint8]


def show_picture(picture: Picture, title: str) -> None:
    """Shows a picture below the cell in a notebook, else in the system's viewer, which it does not wait for.

    Raises:
        InputError: If there is no display, or no viewer.
    """
    image = Image.fromarray(picture)
    if _in_notebook():
        from IPython.display import display  # type: ignore[import-not-found, unused-ignore]

        display(image)
        return
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("there is no display to show pictures on; use save() or render() instead")
    if not ImageShow.show(image, title):
        raise InputError("no program to view pictures was found; use save() or render() instead")


def draw_preview(
    frames: Sequence[Frame],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    max_size: int = 1280,
    max_images: int = 16,
) -> Picture:
    """Draws images with their detections in one picture of bounded size.

    Args:
        frames: At least one.
        detections: Of each frame, in its pixels.
        class_names: Names of the classes.
        max_size: Longer side of the picture in pixels, about.
        max_images: Those after are left out, and the last title says how many.
    """
    columns = int(np.ceil(np.sqrt(min(len(frames), max_images))))
    tiles, titles = [], []
    for frame, found in list(zip(frames, detections, strict=True))[:max_images]:
        # Shrunk first, so that names are written in a size that can be read.
        image, scale = _shrunk(frame.image, max_size // columns)
        boxes = found.boxes.cpu().numpy() * scale
        tiles.append(draw_detections(image, boxes, found.labels.cpu(), class_names, found.scores.cpu()))
        titles.append(frame.name)
    if len(tiles) == 1:
        return tiles[0]
    if len(frames) > len(tiles):
        titles[-1] = f"… and {len(frames) - len(tiles)} more"
    return draw_grid(tiles, columns, titles=titles, max_size=max_size)


def _shrunk(image: Picture, side: int) -> tuple[Picture, npt.NDArray[np.float64]]:
    """The image with no side longer, and the factors that its boxes are to be multiplied by."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return image, np.ones(4)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX)
    return np.array(small), np.array((size[0] / width, size[1] / height) * 2)


def _in_notebook() -> bool:
    # Only if IPython runs already: importing it takes long, and says nothing.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return hasattr(shell, "kernel")
