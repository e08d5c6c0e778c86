"""Several live sources at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Condition

from yolo_lightning.closing import Closing
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Frame, Source
from yolo_lightning.inference.streams.live import LiveSource

__all__ = ["MultiStream"]


class MultiStream(Closing):
    """Reads live sources in rounds; each gives at most one frame to a round, so that none keeps the others waiting.

    A round starts as soon as one source has something. A source that fails or ends does not stop the others.

    Args:
        sources: Live sources that have not been read; closing this closes them.

    Raises:
        InputError: If there is none.
        TypeError: If one is not a :class:`LiveSource`.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise InputError("there is no stream to read")
        self.sources = tuple(source for source in sources if isinstance(source, LiveSource))
        if len(self.sources) < len(sources):
            raise TypeError("only live sources can be read at once")
        self._condition = Condition()

    def __iter__(self) -> Iterator[list[tuple[LiveSource, Event]]]:
        """What is new and where it comes from, until all have ended; closed when the iteration is left."""
        try:
            for source in self.sources:
                source.start(self._condition)
            while events := self._wait():
                yield events
        finally:
            self.close()

    def close(self) -> None:
        """Ends all threads; may be called twice."""
        for source in self.sources:
            source.stop()  # all at once, so that the waits for them do not add up
        for source in self.sources:
            source.close()

    def _wait(self) -> list[tuple[LiveSource, Event]]:
        """What is new once there is something; empty when all have ended."""
        with self._condition:
            while not (events := self._round()) and not all(source.ended for source in self.sources):
                limits = [limit for source in self.sources if (limit := source.patience()) is not None]
                self._condition.wait(min(limits, default=None))
        return events

    def _round(self) -> list[tuple[LiveSource, Event]]:
        """Of each source what waits, up to its first frame."""
        events: list[tuple[LiveSource, Event]] = []
        for source in self.sources:
            while (event := source.take()) is not None:
                events.append((source, event))
                if isinstance(event, Frame):
                    break
        return events
