"""What a library has to offer to be a live source."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

__all__ = ["Capture", "CaptureError", "CorruptFrameError", "UnavailableError"]


class CaptureError(Exception):
    """No frames any more; connecting again may help. The message says why."""


class UnavailableError(CaptureError):
    """There is nothing of this kind, so that trying again is no use as long as there never was a frame."""


class CorruptFrameError(CaptureError):
    """A frame that cannot be decoded; the next may be better."""


class Capture(ABC):
    """The blocking calls of one library, all made by one thread, for one connection.

    Attributes:
        fps: Frames per second as the library says it, once open; None if it does not.
        recorded: Whether it is a recording that ends, and can be had faster than it plays; known once open.
        position: Seconds from the start of a recording, of the last frame read. Set before :meth:`open` when
            connecting again: the recording goes on behind it.
    """

    fps: float | None = None
    recorded: bool = False
    position: float | None = None

    @abstractmethod
    def open(self) -> None:
        """Connects, within a limit of time. Raises CaptureError if it cannot."""

    @abstractmethod
    def read(self) -> npt.NDArray[np.uint8] | None:
        """The next (H, W, 3) uint8 RGB image; None at the regular end. Raises CaptureError, within a limit of time."""

    @abstractmethod
    def close(self) -> None:
        """Lets the device or connection go; may be called when it is not open."""
