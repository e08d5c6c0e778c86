"""What lies between the thread that captures and the one that reads."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Literal

from yolo_lightning.inference.frames import Event, Failure, Frame, Gap

__all__ = ["EventBuffer", "Policy"]

Policy = Literal["latest", "all", "drop-oldest"]


class EventBuffer:
    """Passes events from one thread to another, and decides which frames are left out when the reader is slow.

    Gaps and failures are never left out. Whoever waits on :attr:`condition` is woken by each change; several buffers
    may share one, to be waited for at once.

    Args:
        policy: ``latest`` keeps the newest frame, ``all`` makes the writer wait for room, ``drop-oldest`` makes room
            by leaving out the oldest.
        capacity: How many frames may wait; ``latest`` has one.

    Attributes:
        policy: As above; may be changed.
        condition: Guards the buffer; may be replaced as long as no thread uses it.
        num_dropped: How many frames were left out.
        closed: Whether nothing more will come, because the writer or the reader has ended.
    """

    def __init__(self, policy: Policy, capacity: int) -> None:
        self.condition = Condition()
        self.num_dropped = 0
        self.closed = False
        self.policy = policy
        self._capacity = capacity
        self._events: deque[Event] = deque()

    @property
    def num_frames(self) -> int:
        """How many frames wait."""
        with self.condition:
            return sum(isinstance(event, Frame) for event in self._events)

    def put_frame(self, frame: Frame) -> None:
        """Adds a frame; with ``all``, waits until there is room or the buffer is closed."""
        capacity = 1 if self.policy == "latest" else self._capacity
        with self.condition:
            while self.num_frames >= capacity and not self.closed:
                if self.policy == "all":
                    self.condition.wait()
                else:
                    self._drop_oldest()
            self._add(frame)

    def put(self, event: Gap | Failure) -> None:
        """Adds what is not a frame, at once."""
        with self.condition:
            self._add(event)

    def take(self) -> Event | None:
        """The oldest event, or None if there is none."""
        with self.condition:
            if not self._events:
                return None
            self.condition.notify_all()
            return self._events.popleft()

    def close(self) -> None:
        """Lets nothing more in; what is there can still be taken."""
        with self.condition:
            self.closed = True
            self.condition.notify_all()

    def clear(self) -> None:
        """Forgets what is there."""
        with self.condition:
            self._events.clear()

    def _add(self, event: Event) -> None:
        if not self.closed:
            self._events.append(event)
            self.condition.notify_all()

    def _drop_oldest(self) -> None:
        index = next(index for index, event in enumerate(self._events) if isinstance(event, Frame))
        del self._events[index]
        self.num_dropped += 1
