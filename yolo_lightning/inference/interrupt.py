"""An end between two batches, for a run that a person or the system stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Takes Ctrl-C and SIGTERM while it is entered, so that no batch is lost halfway.

    They raise KeyboardInterrupt at once while the run waits for something new, and otherwise when it next does. A
    second one raises at once. In a thread that is not the main one, where signals do not arrive, it does nothing.

    Attributes:
        requested: Whether one came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Where a signal may raise.

        Raises:
            KeyboardInterrupt: At once, if a signal came before.
        """
        if self.requested:
            raise KeyboardInterrupt
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        at_once = self._waiting or self.requested
        self.requested = True
        if at_once:
            raise KeyboardInterrupt
