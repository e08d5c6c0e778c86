"""Colours of classes, and of letters on them."""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["DARK", "LIGHT", "PADDING_GREY", "Colour", "class_colour", "colour_mask", "text_colour"]

Colour = tuple[int, int, int]

DARK, LIGHT = (16, 16, 16), (255, 255, 255)
PADDING_GREY = 114
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@lru_cache(maxsize=4096)
def class_colour(label: int) -> Colour:
    """An RGB colour for a class: always the same, and far from those of the neighbouring classes.

    Hues step by the golden ratio, which spreads any number of them; saturation and brightness change as well, because
    hues alone soon look alike.
    """
    hue = (0.58 + label * _GOLDEN_RATIO) % 1.0
    saturation, value = ((0.85, 0.95), (0.6, 1.0), (0.9, 0.72))[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour(background: Colour) -> Colour:
    """Dark or light, whichever has the higher contrast (WCAG 2.1 relative luminance)."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK if (luminance + 0.05) ** 2 > 1.05 * 0.055 else LIGHT


def colour_mask(mask: npt.NDArray[np.uint8], background: Colour) -> npt.NDArray[np.uint8]:
    """(H, W, 3) letters on a background, given how much of each pixel they cover, (H, W)."""
    return np.asarray(cv2.applyColorMap(mask, _blend_table(background)), np.uint8)


@lru_cache(maxsize=1024)
def _blend_table(background: Colour) -> npt.NDArray[np.uint8]:
    """(256, 1, 3) colours from the background, at 0, to that of letters on it, at 255."""
    weights = np.arange(256)[:, None, None] / 255
    return np.rint(np.array(background) * (1 - weights) + np.array(text_colour(background)) * weights).astype(np.uint8)
