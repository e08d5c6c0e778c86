"""Lines of text as masks, in any script, with fonts that come along."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["FONT_FOLDER", "Mask", "line_height", "writable", "write_line"]

Mask = npt.NDArray[np.uint8]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Run = tuple[str, int]  # letters, and the index of their font

FONT_FOLDER = Path(__file__).parent / "fonts"
"""The fonts that come along."""

# Pillow's own font (None) is the most pleasant, but has plain Latin letters only. The next two come along and have
# nearly all of European scripts, Hebrew and Arabic, and Chinese, Japanese and Korean. The others belong to systems.
_FONTS = (
    None,
    str(FONT_FOLDER / "DejaVuSans.ttf"),
    str(FONT_FOLDER / "DroidSansFallback.ttf"),
    "NotoSansThai-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Arial Unicode.ttf",
    "Nirmala.ttf",
    "LeelawUI.ttf",
    "seguisym.ttf",
)
_PROBE_SIZE = 16
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})
_SELECTORS = frozenset("\ufe0e\ufe0f")  # whether a sign is drawn in colour, which is not for us


@lru_cache(maxsize=1024)
def writable(text: str) -> str:
    """The text in one line, with the letters that a font has; others lose their accents, or else are left out."""
    visible = (c for c in text if c not in _SELECTORS and (c.isspace() or unicodedata.category(c) not in _INVISIBLE))
    letters: list[str] = []
    for letter in unicodedata.normalize("NFC", " ".join("".join(visible).split())):
        if _font_index(letter) is None:
            letter = "".join(c for c in unicodedata.normalize("NFKD", letter) if _font_index(c) is not None)
        if not _is_mark(letter[:1]) or (letters and letters[-1].strip()):  # a mark needs its letter
            letters.append(letter)
    return " ".join("".join(letters).split())


def _is_mark(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter)[0] == "M"


@lru_cache(maxsize=512)
def write_line(text: str, font_size: int, most_width: int | None = None) -> Mask:
    """The text as how much of each pixel is covered; letters are left off at the end until it fits.

    Args:
        text: As :func:`writable` gives it.
        font_size: Pixels.
        most_width: Pixels.

    Returns:
        (1.4 × font size, width) uint8; of no width if there is no text or not a letter of it fits. Do not change it.
    """
    height = line_height(font_size)
    if most_width is not None and _width(text, font_size) > most_width:
        count = bisect_right(
            range(1, len(text)), most_width, key=lambda n: math.ceil(_width(f"{text[:n]}…", font_size))
        )
        text = f"{text[:count]}…" if count else ""
    if not text:
        return np.zeros((height, 0), np.uint8)
    picture = Image.new("L", (math.ceil(_width(text, font_size)), height))
    canvas = ImageDraw.Draw(picture)
    x, baseline = 0.0, _baseline(font_size, height)
    for letters, index in _runs(text):
        font = _font(index, font_size)
        canvas.text((x, baseline), letters, fill=255, font=font, anchor="ls")
        x += font.getlength(letters)
    mask = np.array(picture)
    mask.setflags(write=False)
    return mask


def line_height(font_size: int) -> int:
    """Pixels from the top of a line to that of the next."""
    return font_size + 2 * max(1, round(font_size * 0.2))


def _baseline(font_size: int, height: int) -> float:
    """Where the letters of Pillow's own font stand in the middle of the line."""
    font = _font(0, font_size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        return height - max(1, round(font_size * 0.3))
    ascent, descent = font.getmetrics()
    return (height + ascent - descent) / 2


def _width(text: str, font_size: int) -> float:
    return sum(_font(index, font_size).getlength(letters) for letters, index in _runs(text))


@lru_cache(maxsize=1024)
def _runs(text: str) -> tuple[_Run, ...]:
    """Parts of the text with the font of each: one for all if it has every letter, else as few changes as possible."""
    for index in range(len(_FONTS)):
        if all(character == " " or _has(index, character) for character in set(text)):
            return ((text, index),)
    runs: list[_Run] = []
    for character in text:
        index = runs[-1][1] if runs else -1
        if index < 0 or not (character == " " or _has(index, character)):
            index = _font_index(character) or 0
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0] + character, index)
        else:
            runs.append((character, index))
    return tuple(runs)


@lru_cache(maxsize=4096)
def _font_index(character: str) -> int | None:
    """The first font that has a letter."""
    if character == " ":
        return 0
    return next((index for index in range(len(_FONTS)) if _has(index, character)), None)


@lru_cache(maxsize=8192)
def _has(index: int, character: str) -> bool:
    font = _probe(index)
    return font is not None and bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))


@cache
def _probe(index: int) -> _Font | None:
    """A font without the rules by which letters are joined, that would draw a mark alone on a dotted circle."""
    try:
        font = _font(index, _PROBE_SIZE)
    except OSError:
        return None
    if isinstance(font, ImageFont.FreeTypeFont):
        return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    return font


@lru_cache(maxsize=64)
def _font(index: int, size: int) -> _Font:
    path = _FONTS[index]
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
