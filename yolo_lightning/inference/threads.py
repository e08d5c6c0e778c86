"""Reading ahead and writing behind: two stages beside the one that computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

__all__ = ["WriteBehind", "read_ahead"]

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterable[T], depth: int) -> Generator[T]:
    """The items in order, made by a thread that is at most ``depth`` of them ahead.

    What making them raises is raised here. Closing the iterator ends the thread, after the item that it is at.
    """
    made: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def make() -> None:
        end: object = _END
        try:
            for item in items:
                made.put((item, None))
                if stopped.is_set():
                    return
        except BaseException as error:
            end = error
        made.put((_END, end))

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, end = made.get()
            if item is not _END:
                yield item
            elif isinstance(end, BaseException):
                raise end
            else:
                return
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                made.get_nowait()
            thread.join(0.01)


class WriteBehind(Generic[T]):
    """Calls a function on items in order, in a thread of its own, at most ``depth`` of them behind.

    What the function raises is raised by the next call or by :meth:`close`; later items are then left out.

    Args:
        write: The function.
        depth: Items that may wait; more make the caller wait.
    """

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._write = write
        self._waiting: queue.Queue[Any] = queue.Queue(depth)
        self._failed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)
        self._thread.start()

    def __call__(self, item: T) -> None:
        """Hands an item over."""
        self._raise()
        self._waiting.put(item)

    def close(self) -> None:
        """Waits until all is written."""
        self._waiting.put(_END)
        self._thread.join()
        self._raise()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._failed:
                continue
            try:
                self._write(item)
            except BaseException as error:
                self._failed = True
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error  # once; closing after it is no second fault
