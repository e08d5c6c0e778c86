"""Several pictures in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from yolo_lightning.drawing.boxes import Picture, default_font_size
from yolo_lightning.drawing.colours import DARK, PADDING_GREY, colour_mask
from yolo_lightning.drawing.text import writable, write_line

__all__ = ["draw_grid"]


def draw_grid(
    images: Sequence[Picture],
    columns: int | None = None,
    *,
    titles: Sequence[str] | None = None,
    gap: int = 4,
    max_size: int = 1920,
) -> Picture:
    """Lays pictures out in a grid, row by row, centred in cells of the size of the largest.

    Args:
        images: (H, W, 3) uint8 RGB pictures.
        columns: Pictures in a row; by default the grid is about square.
        titles: A line for each picture, written at its upper left.
        gap: Grey pixels between the cells.
        max_size: If the longer side of the grid would be more pixels than this, all pictures shrink alike.

    Returns:
        A (H, W, 3) uint8 picture.

    Raises:
        ValueError: If there is no picture, fewer than one column, or another number of titles.
    """
    if not images or (columns is not None and columns < 1):
        raise ValueError(f"a grid needs at least one picture and one column, found {len(images)} and {columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} pictures but {len(titles)} titles")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    room_height, room_width = max_size - gap * (rows - 1), max_size - gap * (columns - 1)
    scale = min(1.0, room_width / (columns * width), room_height / (rows * height))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), PADDING_GREY, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        cell = grid[top : top + height, left : left + width]
        _place(cell, _shrink(image, scale))
        if titles is not None:
            _draw_title(cell, titles[i])
    return grid


def _place(cell: Picture, picture: Picture) -> None:
    """Writes a picture into the middle of a cell."""
    top, left = ((cell.shape[axis] - picture.shape[axis]) // 2 for axis in (0, 1))
    cell[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def _shrink(image: Picture, scale: float) -> Picture:
    if scale == 1.0:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.LANCZOS))


def _draw_title(cell: Picture, title: str) -> None:
    font_size = max(10, default_font_size(cell.shape[0], cell.shape[1]))
    padding = max(1, round(font_size * 0.3))
    mask = write_line(writable(title), font_size, cell.shape[1] - 2 * padding)
    if mask.size and mask.shape[0] <= cell.shape[0]:
        mask = np.pad(mask, ((0, 0), (padding, padding)))
        cell[: mask.shape[0], : mask.shape[1]] = colour_mask(mask, DARK)
