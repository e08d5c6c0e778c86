"""Boxes with names on a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.drawing.colours import DARK, Colour, class_colour, colour_mask
from yolo_lightning.drawing.text import Mask, line_height, writable, write_line

__all__ = ["Picture", "default_font_size", "draw_detections"]

Picture = npt.NDArray[np.uint8]
_SMALL_BOX = 40
_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside


def draw_detections(
    image: Picture,
    boxes: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    scores: npt.ArrayLike | None = None,
    *,
    line_width: int | None = None,
    font_size: int | None = None,
    show_labels: bool = True,
    show_scores: bool = True,
    colour: Colour | None = None,
) -> Picture:
    """Draws boxes with the names of their classes; the more confident ones lie on top.

    A name goes above its box, or where there is room: never outside the picture, and not on another name if it can be
    helped. Letters that no font at hand has are left out; a name of which nothing remains is replaced by the number of
    the class.

    Args:
        image: (H, W, 3) uint8 RGB; is not changed.
        boxes: (n, 4) xyxy pixels of the image; arrays, or tensors on the CPU. What lies outside is not drawn.
        labels: (n,) class indices.
        class_names: Names of the classes.
        scores: (n,) confidences, written behind the names where the picture is wide enough.
        line_width: Pixels; by default it grows with the image.
        font_size: Pixels; by default it grows with the image.
        show_labels: Whether to write names and scores.
        show_scores: Whether to write scores behind the names.
        colour: RGB of all boxes; by default each class has its own.

    Returns:
        A new (H, W, 3) picture.

    Raises:
        ValueError: If the image is not (H, W, 3) uint8, or the lengths differ.
    """
    table = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    classes = np.asarray(labels, dtype=np.int64).reshape(-1)
    confidences = None if scores is None else np.asarray(scores, dtype=np.float64).reshape(-1)
    _check(image, table, classes, confidences)
    picture = np.array(image, order="C")
    if not picture.size or not len(table):
        return picture
    line_width = line_width or _default_line_width(picture.shape[0], picture.shape[1])
    rows, visible = _visible(table, picture.shape[0], picture.shape[1])
    order = np.arange(len(rows)) if confidences is None else np.argsort(confidences[rows], kind="stable")
    colours = [colour or class_colour(label) for label in classes[rows].tolist()]
    for i in order.tolist():
        _draw_box(picture, visible[i], colours[i], line_width)
    if show_labels:
        tags = _Tags(picture, font_size or default_font_size(picture.shape[0], picture.shape[1]), len(rows))
        # The most confident names choose their places first.
        for i in order[::-1].tolist():
            score = f"{confidences[rows[i]]:.2f}" if confidences is not None and show_scores else ""
            tags.place(visible[i], int(classes[rows[i]]), class_names, score, colours[i])
        tags.draw()
    return picture


def default_font_size(height: int, width: int) -> int:
    """Pixels of letters that can be read when the whole picture is looked at."""
    return max(9, round(math.sqrt(height * width) * 0.018 + 3))


def _default_line_width(height: int, width: int) -> int:
    scale = math.sqrt(height * width)
    return max(1 if scale < 200 else 2, round(scale * 0.0035))


def _draw_box(picture: Picture, box: _Rectangle, colour: Colour, line_width: int) -> None:
    left, top, right, bottom = box
    # A dark rim keeps the line visible on a background of its own colour; a thin line has it outside only, and in a
    # small box not at all.
    inner = line_width // 3
    outer = inner or int(min(right - left, bottom - top) >= _SMALL_BOX)
    if outer:
        around = (left - outer, top - outer, right + outer, bottom + outer)
        _draw_frame(picture, around, DARK, line_width + outer + inner)
    _draw_frame(picture, box, colour, line_width)


def _draw_frame(picture: Picture, box: _Rectangle, colour: Colour, width: int) -> None:
    """Lines inside a rectangle, along its sides."""
    left, top, right, bottom = box
    across, down = min(width, right - left), min(width, bottom - top)
    for bar in (
        (left, top, right, top + down),
        (left, bottom - down, right, bottom),
        (left, top, left + across, bottom),
        (right - across, top, right, bottom),
    ):
        cv2.rectangle(picture, bar[:2], (bar[2] - 1, bar[3] - 1), colour, cv2.FILLED)


class _Tags:
    """The names on a picture: finds a place for each, then draws them, the first ones on top."""

    def __init__(self, picture: Picture, font_size: int, most: int) -> None:
        self.picture, self.font_size = picture, font_size
        self.height = line_height(font_size)
        self.padding = max(1, round(font_size * 0.2))
        self.placed: list[tuple[Mask, Colour]] = []
        self.places = np.zeros((4, most), dtype=np.int64)

    def place(self, box: _Rectangle, label: int, class_names: Sequence[str], score: str, colour: Colour) -> None:
        picture_height, picture_width = self.picture.shape[:2]
        name = class_names[label] if 0 <= label < len(class_names) else str(label)
        mask = self._write(writable(name) or (str(label) if name else ""), score)
        if not mask.size or self.height > picture_height:
            return
        size = np.array((mask.shape[1], self.height))
        corners = np.array(_candidates(box, mask.shape[1], self.height))
        corners = np.clip(corners, 0, np.array((picture_width, picture_height)) - size)
        rectangles = np.concatenate((corners, corners + size), axis=1)
        best = int(_covered(rectangles, self.places[:, : len(self.placed)]).argmin())
        self.places[:, len(self.placed)] = rectangles[best]
        self.placed.append((mask, colour))

    def draw(self) -> None:
        places = self.places[:, : len(self.placed)].T.tolist()
        for (left, top, right, bottom), (mask, colour) in reversed(list(zip(places, self.placed, strict=True))):
            self.picture[top:bottom, left:right] = colour_mask(mask, colour)

    def _write(self, text: str, score: str) -> Mask:
        """Name and score with room around them; of no size if nothing fits."""
        width = self.picture.shape[1]
        # Half of the width is enough for a name; on a small picture the score would hide what the box is around.
        room = max(width // 2, min(width, 5 * self.font_size)) - 2 * self.padding
        name = write_line(text, self.font_size, room)
        parts = [name]
        if score:
            number, gap = write_line(score, self.font_size), self._space(round(self.font_size * 0.3) if text else 0)
            if name.shape[1] + gap.shape[1] + number.shape[1] <= room:
                parts += [gap, number]
        if not any(part.shape[1] for part in parts):
            return self._space(0)
        edge = self._space(self.padding)
        return np.concatenate((edge, *parts, edge), axis=1)

    def _space(self, width: int) -> Mask:
        return np.zeros((self.height, width), np.uint8)


def _candidates(box: _Rectangle, width: int, height: int) -> list[tuple[int, int]]:
    """Places for a name, left and top, the best first: above, inside, below, then the same at the right."""
    left, top, right, bottom = box
    heights = (top - height, top, bottom, bottom - height) if top >= height else (top, bottom, bottom - height)
    return [(x, y) for x in (left, right - width) for y in heights]


def _visible(table: npt.NDArray[np.float64], height: int, width: int) -> tuple[npt.NDArray[np.int64], list[_Rectangle]]:
    """Which boxes can be seen, and their visible parts in whole pixels, at least one."""
    limits = np.array((width, height))
    inside = np.isfinite(table).all(axis=1) & (table[:, :2] < limits).all(axis=1) & (table[:, 2:] > 0).all(axis=1)
    rows = np.flatnonzero(inside)
    first = np.clip(np.rint(table[rows, :2]), 0, limits - 1)
    last = np.maximum(np.minimum(np.rint(table[rows, 2:]), limits), first + 1)
    return rows, [tuple(box) for box in np.concatenate((first, last), axis=1).astype(np.int64).tolist()]


def _covered(places: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(m,) pixels of other rectangles, (4, n), on each place, (m, 4), and on the line of pixels around it."""
    left, top, right, bottom = taken
    own_left, own_top, own_right, own_bottom = places.T[:, :, None]
    width = np.minimum(right, own_right + 1) - np.maximum(left, own_left - 1)
    height = np.minimum(bottom, own_bottom + 1) - np.maximum(top, own_top - 1)
    covered: npt.NDArray[np.int64] = np.einsum("ij,ij->i", width.clip(min=0), height.clip(min=0))
    return covered


def _check(
    image: Picture,
    boxes: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64] | None,
) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"pictures must be (H, W, 3) uint8 RGB, found {image.shape} {image.dtype}")
    lengths = [len(boxes), len(labels), *([] if scores is None else [len(scores)])]
    if len(set(lengths)) > 1:
        raise ValueError(f"boxes, labels and scores must have one length, found {lengths}")
