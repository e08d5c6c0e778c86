"""The screen of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Unpack

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError
from yolo_lightning.extras import require
from yolo_lightning.inference.streams.capture import Capture, CaptureError
from yolo_lightning.inference.streams.live import LiveOptions, LiveSource

__all__ = ["Grabber", "ScreenSource"]


class Grabber(Protocol):
    """What is used of ``mss``.

    Attributes:
        monitors: ``left``, ``top``, ``width`` and ``height`` of all screens together, then of each.
    """

    monitors: Any

    def grab(self, monitor: dict[str, int], /) -> Any:
        """What a part of the screen shows, as (H, W, 4) uint8 BGRA."""

    def close(self) -> None:
        """Lets the display go."""


class ScreenSource(LiveSource):
    """What a screen shows, grabbed at an even rate by mss.

    Args:
        screen: Which screen, from 1; 0 for all together.
        region: (left, top, width, height) in pixels of the screen; all of it if None.
        fps: How often it is grabbed, per second.
        open_screens: Opens the display.
        options: As in :class:`LiveSource`.

    Raises:
        InputError: If there is no display, no such screen, or the region leaves the screen.
    """

    def __init__(
        self,
        screen: int = 0,
        region: tuple[int, int, int, int] | None = None,
        *,
        fps: float = 15.0,
        open_screens: Callable[[], Grabber] | None = None,
        **options: Unpack[LiveOptions],
    ) -> None:
        if not fps > 0:
            raise InputError(f"fps is {fps}; it must be positive")
        open_screens = open_screens or _open_screens
        grabber = open_screens()
        try:
            area = _area(list(grabber.monitors), screen, region)
        finally:
            grabber.close()
        super().__init__(
            lambda: _ScreenCapture(area, fps, open_screens),
            name=f"screen_{screen}",
            description=" ".join(map(str, ("screen", screen, *(region or ())))),
            interval=1 / fps,
            **options,
        )


class _ScreenCapture(Capture):
    def __init__(self, area: dict[str, int], fps: float, open_screens: Callable[[], Grabber]) -> None:
        self.fps = fps
        self._area, self._open_screens = area, open_screens
        self._grabber: Grabber | None = None

    def open(self) -> None:
        try:
            self._grabber = self._open_screens()  # here, because a connection to X belongs to a thread
        except InputError as error:
            raise CaptureError(str(error)) from error

    def read(self) -> npt.NDArray[np.uint8] | None:
        assert self._grabber is not None, "open first"
        try:
            pixels = np.asarray(self._grabber.grab(self._area), np.uint8)
        except Exception as error:  # mss has an error of its own for each system
            raise CaptureError(f"the screen cannot be grabbed ({error})") from error
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.uint8)

    def close(self) -> None:
        if self._grabber is not None:
            self._grabber.close()


def _open_screens() -> Grabber:
    mss = require("mss", "screen", "to grab the screen")
    try:
        grabber: Grabber = mss.MSS() if hasattr(mss, "MSS") else mss.mss()  # before 10.2
    except Exception as error:  # mss has an error of its own for each system
        raise InputError(
            f"there is no display to grab ({error}): run this where a desktop is, or set DISPLAY to one"
        ) from error
    return grabber


def _area(monitors: list[dict[str, int]], screen: int, region: tuple[int, int, int, int] | None) -> dict[str, int]:
    """The part to grab, in pixels of all screens together."""
    if not 0 <= screen < len(monitors):
        raise InputError(f"there is no screen {screen}: give 0 for all together, or 1 to {len(monitors) - 1}")
    whole = monitors[screen]
    left, top, width, height = region or (0, 0, whole["width"], whole["height"])
    inside = left >= 0 and top >= 0 and left + width <= whole["width"] and top + height <= whole["height"]
    if not inside or width < 1 or height < 1:
        raise InputError(
            f"the region {left} {top} {width} {height} (left, top, width, height) is not within screen {screen}, which "
            f"has {whole['width']} × {whole['height']} pixels"
        )
    return {"left": whole["left"] + left, "top": whole["top"] + top, "width": width, "height": height}
