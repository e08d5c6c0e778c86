"""Requests as they came in, and those that are to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DROP", "HANG", "Fault", "Faults", "Request"]

DROP = 0
"""Status of a request whose connection is closed without an answer."""

HANG = -1
"""Status of a request that gets no answer while the fault lasts, and whose connection is closed then."""


@dataclass
class Request:
    """One request as it came in."""

    time: float  # as time.time()
    method: str
    path: str
    operation: str  # of a GraphQL request
    body: Any  # GraphQL variables, file stream body, or the number of bytes
    status: int = 0  # of the answer; as in a fault


@dataclass
class Fault:
    """Which requests fail, and how."""

    match: str
    status: int
    times: int | None
    when: Callable[[Request], bool]
    hits: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def applies(self, request: Request) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.match in f"{request.path} {request.operation}"
            and self.when(request)
        )


class Faults:
    """The faults that are in force."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._lock = threading.Lock()

    @contextmanager
    def injected(self, fault: Fault) -> Iterator[Fault]:
        with self._lock:
            self._active.append(fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._active.remove(fault)
            fault.over.set()

    def hit(self, request: Request) -> Fault | None:
        """The fault that a request runs into, counted."""
        with self._lock:
            for fault in self._active:
                if fault.applies(request):
                    fault.hits += 1
                    return fault
        return None

    def end(self) -> None:
        """Lets go of the connections that hang."""
        with self._lock:
            for fault in self._active:
                fault.over.set()
