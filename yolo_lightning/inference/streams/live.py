"""Frames that come by themselves: one thread captures them, whoever iterates gets them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Condition, Thread
from threading import Event as Flag
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Failure, Frame, Gap, Source
from yolo_lightning.inference.streams.buffer import EventBuffer, Policy
from yolo_lightning.inference.streams.capture import Capture, CaptureError, CorruptFrameError, UnavailableError

__all__ = ["LiveOptions", "LiveSource"]

_PATIENCE = 2.0
_GRACE = 0.5  # seconds by which a library's own limit of time comes first


class LiveOptions(TypedDict, total=False):
    """Options of every live source, as in :class:`LiveSource`."""

    policy: Policy
    stride: int
    capacity: int
    stall_timeout: float
    initial_delay: float
    max_delay: float
    max_retries: int | None


class LiveSource(Source):
    """Runs a capture in a thread of its own, which starts when the source is first read.

    What interrupts the stream is one :class:`Gap` for each outage, however many attempts it takes to connect again;
    attempts are ever further apart. When they are used up, a :class:`Failure` ends the source. It ends without one if
    the library says that the stream is over. A recording is read as with the policy ``all``, so that nothing of it is
    lost.

    Args:
        new_capture: Makes a capture; called for each connection, in the thread.
        name: As in :class:`Source`.
        description: As in :class:`Source`.
        policy: What happens when frames come faster than they are read: ``latest`` keeps only the newest, ``all``
            keeps up to ``capacity`` and then lets the stream wait, ``drop-oldest`` keeps the newest ``capacity``.
        stride: Only every so-many-th frame is passed on.
        capacity: How many frames may wait with ``all`` and ``drop-oldest``.
        stall_timeout: Seconds without a good frame after which the stream counts as interrupted.
        initial_delay: Seconds before the first attempt to connect again; doubled for each further one.
        max_delay: The longest delay between attempts.
        max_retries: How many attempts in a row may fail; None for no limit.
        interval: Seconds between frames, for captures that give one whenever they are asked.

    Attributes:
        num_captured: How many frames came, stride and left out ones included.
        num_corrupt: How many could not be decoded.
        num_connections: How often it was connected.

    Raises:
        InputError: If an option is out of range.
    """

    live = True

    def __init__(
        self,
        new_capture: Callable[[], Capture],
        *,
        name: str,
        description: str,
        policy: Policy = "latest",
        stride: int = 1,
        capacity: int = 32,
        stall_timeout: float = 5.0,
        initial_delay: float = 0.5,
        max_delay: float = 30.0,
        max_retries: int | None = 10,
        interval: float = 0.0,
    ) -> None:
        if policy not in ("latest", "all", "drop-oldest"):
            raise InputError(f"policy is {policy!r}; it must be latest, all or drop-oldest")
        for option, value in (("stride", stride), ("capacity", capacity)):
            if value < 1:
                raise InputError(f"{option} is {value}; it must be at least 1")
        if stall_timeout <= 0 or initial_delay <= 0 or max_delay < initial_delay or (max_retries or 0) < 0:
            raise InputError(
                "stall_timeout and initial_delay must be positive, max_delay at least initial_delay and max_retries "
                f"not negative; they are {stall_timeout}, {initial_delay}, {max_delay} and {max_retries}"
            )
        self.name, self.description = name, description
        self.num_captured = self.num_corrupt = self.num_connections = 0
        self._new_capture = new_capture
        self._stride, self._stall_timeout, self._interval = stride, stall_timeout, interval
        self._delay = (initial_delay, max_delay)
        self._max_retries = max_retries
        self._buffer = EventBuffer(policy, capacity)
        self._thread: Thread | None = None
        self._stopped = Flag()
        self._stopped_at = 0.0
        self._interrupted = False
        self._deadline: float | None = None
        self._position: float | None = None

    @property
    def num_dropped(self) -> int:
        """How many frames were left out because the reader was slow."""
        return self._buffer.num_dropped

    @property
    def ended(self) -> bool:
        """Whether nothing more will come; what waits can still be taken."""
        return self._buffer.closed

    def __iter__(self) -> Iterator[Event]:
        """What comes, waiting for it; the source is closed when the iteration is left."""
        self.start()
        condition = self._buffer.condition
        try:
            while True:
                with condition:
                    while (event := self.take()) is None and not self.ended:
                        condition.wait(self.patience())
                if event is None:
                    return
                yield event
        finally:
            self.close()

    def start(self, condition: Condition | None = None) -> None:
        """Starts to capture.

        Args:
            condition: What is to be notified of each change; its own if None.

        Raises:
            RuntimeError: If it was started before: a stream can be read only once.
        """
        if self._thread is not None or self._stopped.is_set():
            raise RuntimeError(f"{self.description} has been read or closed; make a new source")
        self._buffer.condition = condition or self._buffer.condition
        self._deadline = time.monotonic() + self._stall_timeout + _GRACE
        self._thread = Thread(target=self._run, name=f"capture {self.description}", daemon=True)
        self._thread.start()

    def take(self) -> Event | None:
        """The next event, or None if there is none yet."""
        with self._buffer.condition:
            event = self._buffer.take()
            if event is None and self._deadline is not None and time.monotonic() >= self._deadline:
                self._interrupt(f"no frame for {self._stall_timeout:g} s")  # the library still blocks
                event = self._buffer.take()
            return event

    def patience(self) -> float | None:
        """Seconds after which :meth:`take` has to be called although nothing was notified."""
        deadline = self._deadline
        return None if deadline is None else max(deadline - time.monotonic(), 0.0)

    def stop(self) -> None:
        """Asks the thread to end, without waiting for it."""
        with self._buffer.condition:
            if not self._stopped.is_set():
                self._stopped_at = time.monotonic()
                self._stopped.set()
            self._buffer.close()
            self._buffer.clear()

    def close(self) -> None:
        """Ends the thread; one whose library blocks is left alone after 2 s and ends when the library's limit is up."""
        self.stop()
        if self._thread is not None:
            self._thread.join(max(self._stopped_at + _PATIENCE - time.monotonic(), 0.0))

    def _run(self) -> None:
        try:
            failure = self._capture()
        except Exception as error:  # a fault of one source must not go unnoticed, nor end the others
            failure = f"{type(error).__name__}: {error}"
        with self._buffer.condition:
            self._deadline = None
            if failure is not None:
                self._buffer.put(Failure(self.description, failure))
            self._buffer.close()

    def _capture(self) -> str | None:
        """Connects again and again; returns why there is nothing more, None if that is regular."""
        delay, longest = self._delay
        retries, known = 0, 0
        while not self._stopped.is_set():
            try:
                self._read_connection()
                return None
            except CaptureError as error:
                if isinstance(error, UnavailableError) and not self.num_captured:
                    return str(error)
                reason = str(error)
            if self.num_captured > known:
                (delay, longest), retries, known = self._delay, 0, self.num_captured
            self._interrupt(reason)
            if retries == self._max_retries:
                return f"{reason}; given up after {retries} attempts to connect again"
            self._stopped.wait(delay)
            retries, delay = retries + 1, min(2 * delay, longest)
        return None

    def _read_connection(self) -> None:
        """Reads until the regular end or until stopped."""
        capture = self._new_capture()
        try:
            capture.position = self._position
            capture.open()
            self.num_connections += 1
            if capture.fps:
                self.fps = capture.fps / self._stride
            if capture.recorded:
                self._buffer.policy = "all"
            while not self._stopped.is_set():
                image = self._read_good(capture)
                if image is None:
                    return
                self._position = capture.position
                self._pass_on(image)
        finally:
            capture.close()

    def _read_good(self, capture: Capture) -> npt.NDArray[np.uint8] | None:
        """The next image that is whole; gives up if there is none for too long."""
        due = time.monotonic() + self._stall_timeout
        while not self._stopped.is_set():
            try:
                return capture.read()
            except CorruptFrameError as error:
                self.num_corrupt += 1
                if time.monotonic() >= due:
                    raise CaptureError(f"only broken frames for {self._stall_timeout:g} s ({error})") from error
        return None

    def _pass_on(self, image: npt.NDArray[np.uint8]) -> None:
        now, number = time.monotonic(), self.num_captured
        with self._buffer.condition:
            self.num_captured += 1
            self._deadline, self._interrupted = None, False  # a reader that lets us wait is no stall
            if number % self._stride == 0:
                when = now if self.live else self._position
                self._buffer.put_frame(Frame(image, self.description, self.name, number, when))
            self._deadline = time.monotonic() + self._stall_timeout + self._interval + _GRACE
        if self._interval:
            self._stopped.wait(max(now + self._interval - time.monotonic(), 0.0))

    def _interrupt(self, reason: str) -> None:
        """Says that frames have stopped, once for each outage."""
        with self._buffer.condition:
            self._deadline = None
            if not self._interrupted:
                self._interrupted = True
                self._buffer.put(Gap(self.description, reason, time.monotonic()))
