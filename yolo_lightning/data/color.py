"""Colour jitter by lookup tables."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["scale_hsv"]

# A strip of this many pixels and what is made of it stay in the cache: a third less time at 640 × 640.
_PIXELS_PER_STRIP = 1 << 17


def scale_hsv(image: npt.NDArray[np.uint8], gains: tuple[float, float, float]) -> None:
    """Multiplies hue (mod 180), saturation and value (both clipped at 255) in place, as YOLOv5 does.

    Args:
        image: (H, W, 3) RGB, written to.
        gains: Factors of hue, saturation and value; 1 changes nothing but rounding.
    """
    levels = np.arange(256)
    scaled = ((levels * gains[0]) % 180, np.clip(levels * gains[1], 0, 255), np.clip(levels * gains[2], 0, 255))
    tables = [table.astype(np.uint8) for table in scaled]
    num_rows = max(1, _PIXELS_PER_STRIP // max(1, image.shape[1]))
    for start in range(0, len(image), num_rows):
        strip = image[start : start + num_rows]
        planes = cv2.split(cv2.cvtColor(strip, cv2.COLOR_RGB2HSV))
        # Three tables of one channel are quicker than one of three.
        hsv = cv2.merge([cv2.LUT(plane, table) for plane, table in zip(planes, tables, strict=True)])
        strip[:] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
