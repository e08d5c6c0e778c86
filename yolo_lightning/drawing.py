"""Boxes on pictures, legible at any size."""

from __future__ import annotations

import colorsys
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["class_colour", "draw_detections", "draw_grid"]

Colour = tuple[int, int, int]
Picture = npt.NDArray[np.uint8]
_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
_DARK, _LIGHT = (16, 16, 16), (255, 255, 255)
_PADDING_GREY = 114
# Pillow's own font has plain Latin letters; these come with common systems and have many others.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "malgun.ttf")


def class_colour(label: int) -> Colour:
    """An RGB colour for a class: always the same, and far from those of the neighbouring classes.

    Hues step by the golden ratio, which spreads any number of them; saturation and brightness change as well, because
    hues alone soon look alike.
    """
    hue = (0.58 + label * _GOLDEN_RATIO) % 1.0
    saturation, value = ((0.85, 0.95), (0.6, 1.0), (0.9, 0.72))[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


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
    colour: Colour | None = None,
) -> Picture:
    """Draws boxes with the names of their classes; the more confident ones lie on top.

    A name goes above its box, or where there is room: never outside the picture, and not on another name if it can be
    helped. A name that no font at hand can write is replaced by the number of the class.

    Args:
        image: (H, W, 3) uint8 RGB; is not changed.
        boxes: (n, 4) xyxy pixels of the image; arrays, or tensors on the CPU. What lies outside is not drawn.
        labels: (n,) class indices.
        class_names: Names of the classes.
        scores: (n,) confidences, written behind the names where the picture is wide enough.
        line_width: Pixels; by default it grows with the image.
        font_size: Pixels; by default it grows with the image.
        show_labels: Whether to write names and scores.
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
    if not image.size:
        return image.copy()
    height, width = image.shape[:2]
    scale = math.sqrt(height * width)
    line_width = line_width or max(1, round(scale * 0.0035))
    picture = Image.fromarray(np.ascontiguousarray(image))
    canvas = ImageDraw.Draw(picture)
    tags = _Tags(canvas, font_size or max(9, round(scale * 0.018 + 3)))
    ascending = np.arange(len(table)) if confidences is None else np.argsort(confidences, kind="stable")
    visible = [(i, box) for i in ascending.tolist() if (box := _clip(table[i], width, height))]
    for i, (left, top, right, bottom) in visible:
        # A dark rim keeps the line visible on a background of its own colour.
        rim = line_width // 3
        around = (left - rim, top - rim, right - 1 + rim, bottom - 1 + rim)
        canvas.rectangle(around, outline=_DARK, width=line_width + 2 * rim)
        canvas.rectangle(
            (left, top, right - 1, bottom - 1), outline=colour or class_colour(int(classes[i])), width=line_width
        )
    # The most confident names choose their places first.
    for i, box in reversed(visible) if show_labels else []:
        score = "" if confidences is None else f"{confidences[i]:.2f}"
        tags.place(box, int(classes[i]), class_names, score, colour or class_colour(int(classes[i])))
    tags.draw()
    return np.array(picture)


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
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (_PADDING_GREY,) * 3)
    canvas = ImageDraw.Draw(grid)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        cell = _shrink(image, scale)
        grid.paste(cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2))
        if titles is not None:
            _draw_title(canvas, titles[i], left, top, width, max(10, round(math.sqrt(height * width) * 0.018 + 3)))
    return np.array(grid)


class _Tags:
    """The names on a picture: finds a place for each, then draws them, the first ones on top."""

    def __init__(self, canvas: ImageDraw.ImageDraw, font_size: int) -> None:
        self.canvas, self.font_size = canvas, font_size
        self.padding = max(1, round(font_size * 0.2))
        self.placed: list[tuple[_Rectangle, str, _Font, Colour]] = []

    def place(self, box: _Rectangle, label: int, class_names: Sequence[str], score: str, colour: Colour) -> None:
        picture_width, picture_height = self.canvas.im.size
        name = class_names[label] if 0 <= label < len(class_names) else str(label)
        text, font = _writable(name, str(label), self.font_size)
        # Half of the width is enough for a name; on a small picture the score would hide what the box is around.
        room = max(picture_width // 2, min(picture_width, 5 * self.font_size)) - 2 * self.padding
        if score and font.getlength(f"{text} {score}") <= room:
            text = f"{text} {score}"
        text = _shorten(text, font, room)
        width, height = math.ceil(font.getlength(text)) + 2 * self.padding, self.font_size + 2 * self.padding
        if not text or height > picture_height:
            return
        rectangles = []
        for left, top in _candidates(box, width, height):
            left, top = min(max(left, 0), picture_width - width), min(max(top, 0), picture_height - height)
            rectangles.append((left, top, left + width, top + height))
        taken = np.array([rectangle for rectangle, *_ in self.placed], dtype=np.int64).reshape(-1, 4)
        self.placed.append((min(rectangles, key=lambda place: _covered(place, taken)), text, font, colour))

    def draw(self) -> None:
        for (left, top, right, bottom), text, font, colour in reversed(self.placed):
            self.canvas.rectangle((left, top, right - 1, bottom - 1), fill=colour)
            middle = (left + self.padding, (top + bottom) / 2)
            self.canvas.text(middle, text, fill=_text_colour(colour), font=font, anchor="lm")


def _candidates(box: _Rectangle, width: int, height: int) -> list[tuple[int, int]]:
    """Places for a name, left and top, the best first: above, inside, below, then the same at the right."""
    left, top, right, bottom = box
    heights = (top - height, top, bottom, bottom - height) if top >= height else (top, bottom, bottom - height)
    return [(x, y) for x in (left, right - width) for y in heights]


def _clip(box: npt.NDArray[np.float64], width: int, height: int) -> _Rectangle | None:
    """The visible part in whole pixels, at least one; None if there is none."""
    if not np.isfinite(box).all() or box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        return None
    left, top = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    return left, top, max(min(round(box[2]), width), left + 1), max(min(round(box[3]), height), top + 1)


def _covered(place: _Rectangle, taken: npt.NDArray[np.int64]) -> int:
    """Pixels of other rectangles on a place and on the line of pixels around it."""
    sides = np.minimum(taken[:, 2:], np.add(place[2:], 1)) - np.maximum(taken[:, :2], np.subtract(place[:2], 1))
    return int(sides.clip(min=0).prod(axis=1).sum())


def _text_colour(background: Colour) -> Colour:
    """Dark or light, whichever has the higher contrast (WCAG 2.1 relative luminance)."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK if (luminance + 0.05) ** 2 > 1.05 * 0.055 else _LIGHT


@lru_cache(maxsize=1024)
def _writable(name: str, number: str, size: int) -> tuple[str, _Font]:
    """The name and a font that has its letters; without accents, or the number, if none has."""
    name = " ".join(name.split())
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    fonts = [font for index in range(-1, len(_SYSTEM_FONTS)) if (font := _font(index, size))]
    for text in (name, plain):
        for font in fonts:
            if _has_letters(font, text):
                return text, font
    return number, fonts[0]


@lru_cache(maxsize=64)
def _font(index: int, size: int) -> _Font | None:
    """Pillow's own font at −1, else a system's; None where it is missing."""
    if index < 0:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(_SYSTEM_FONTS[index], size)
    except OSError:
        return None


def _has_letters(font: _Font, text: str) -> bool:
    missing = bytes(font.getmask("\uffff"))
    return all(character == " " or bytes(font.getmask(character)) != missing for character in set(text))


def _shorten(text: str, font: _Font, width: int) -> str:
    """Leaves off letters at the end until the text fits; empty if nothing does."""
    if font.getlength(text) <= width:
        return text
    shortened = (f"{text[:count]}…" for count in range(len(text) - 1, 0, -1))
    return next((candidate for candidate in shortened if font.getlength(candidate) <= width), "")


def _shrink(image: Picture, scale: float) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image))
    if scale == 1.0:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _draw_title(canvas: ImageDraw.ImageDraw, title: str, left: int, top: int, width: int, font_size: int) -> None:
    padding = max(1, round(font_size * 0.3))
    text, font = _writable(title, "", font_size)
    text = _shorten(text, font, width - 2 * padding)
    if text:
        right = left + math.ceil(font.getlength(text)) + 2 * padding
        canvas.rectangle((left, top, right - 1, top + font_size + 2 * padding - 1), fill=_DARK)
        canvas.text((left + padding, top + font_size / 2 + padding), text, fill=_LIGHT, font=font, anchor="lm")


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
