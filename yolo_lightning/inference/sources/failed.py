"""A source that could not be opened, in the place of one that could."""

from __future__ import annotations

from collections.abc import Iterator

from yolo_lightning.inference.frames import Event, Failure, Source

__all__ = ["FailedSource"]


class FailedSource(Source):
    """Yields one failure and ends, so that the sources after it are read.

    Args:
        failure: What is wrong.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.name = self.description = failure.source
        self.num_frames = 0

    def __iter__(self) -> Iterator[Event]:
        """The failure."""
        yield self.failure
