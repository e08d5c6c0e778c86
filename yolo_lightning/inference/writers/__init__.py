"""What detection leaves on disk."""

from __future__ import annotations

from typing import Protocol

from yolo_lightning.inference.frames import Source
from yolo_lightning.inference.results import Results

__all__ = ["Writer"]


class Writer(Protocol):
    """Takes the result of one image or frame after the other."""

    def __call__(self, result: Results, source: Source) -> None:
        """Writes the result of one image or frame.

        Raises:
            OSError: If it cannot be written.
        """

    def close(self) -> None:
        """Completes what is open; may be called twice."""
