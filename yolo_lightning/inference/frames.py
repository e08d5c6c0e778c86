"""What a source yields: frames, and what went wrong between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yolo_lightning.closing import Closing

__all__ = ["Event", "Failure", "Frame", "Gap", "Source"]


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A picture, or a frame of a video or stream.

    Args:
        image: (H, W, 3) uint8 RGB, turned upright.
        source: Where it comes from, as a person would name it: a path, an address, ``camera 0``.
        name: Plain file name that outputs are called after, with the ending of a file if it is one: ``bus.jpg``.
        number: Number of the frame in its video or stream, from 0; None for a picture.
        time: Seconds from the start of a video; for a live source, ``time.monotonic()`` when it was captured.
    """

    image: npt.NDArray[np.uint8]
    source: str
    name: str
    number: int | None = None
    time: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True)
class Gap:
    """A live source gives no frames for a while; more may come.

    Args:
        source: As in :class:`Frame`.
        reason: What happened.
        time: ``time.monotonic()`` when it was noticed.
    """

    source: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that cannot be read, or a source that ended too early; the others go on.

    Args:
        source: As in :class:`Frame`.
        reason: What is wrong and what to do about it.
    """

    source: str
    reason: str


Event = Frame | Gap | Failure


class Source(Closing, ABC):
    """Yields frames, once; close it in the end, or use it as a context manager.

    Opening it (the constructor) checks what can be checked at once and raises InputError; what goes wrong later is an
    event, so that other sources go on.

    Attributes:
        live: Whether frames come by themselves, so that a slow reader must leave some out.
        name: Plain name that outputs are called after.
        description: As :attr:`Frame.source`.
        num_frames: How many frames will come, as far as is known: an estimate, for a progress bar.
        fps: Frames per second of a video or stream, after leaving out frames; None for pictures.
    """

    live: bool = False
    name: str
    description: str
    num_frames: int | None = None
    fps: float | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Event]:
        """The frames in order, with what went wrong between them."""

    def close(self) -> None:
        """Frees files, devices and threads; may be called twice."""
        return
