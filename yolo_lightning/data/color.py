"""Colour jitter by lookup tables."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["scale_hsv"]

# Strips of this many pixels reuse one small buffer: a third less time at 640 × 640 than whole images, whose memory
# the system hands out and takes back every time.
_PIXELS_PER_STRIP = 1 << 17


def scale_hsv(image: npt.NDArray[np.uint8], gains: tuple[float, float, float]) -> None:
    """Multiplies hue (mod 180), saturation and value (both clipped at 255) in place, as YOLOv5 does.

    Args:
        image: (H, W, 3) RGB, written to.
        gains: Factors of hue, saturation and value; 1 changes nothing but rounding.
    """
    levels = np.arange(256)
    scaled = ((levels * gains[0]) % 180, np.clip(levels * gains[1], 0, 255), np.clip(levels * gains[2], 0, 255))
    table = np.stack(scaled, axis=1).astype(np.uint8)[None]
    num_rows = max(1, _PIXELS_PER_STRIP // max(1, image.shape[1]))
    for start in range(0, len(image), num_rows):
        strip = image[start : start + num_rows]
        hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
        cv2.LUT(hsv, table, dst=hsv)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=strip)
