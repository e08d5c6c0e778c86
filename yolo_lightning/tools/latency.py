"""How long calls take, measured by turns, so that whatever else a machine does hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from yolo_lightning.text import first_line

__all__ = ["Latency", "Turns", "wait_for"]

Call = Callable[[], object]

_CALLS_OF_A_TURN = 4
_FEWEST_CALLS = 12


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a call.

    Args:
        p50: Median.
        p95: Of 20 calls one is slower.
        num_calls: How many were measured.
    """

    p50: float
    p95: float
    num_calls: int


class Turns:
    """Times several calls in rounds: each has a turn of a few calls, then it is the next one's.

    The first call of a turn is not counted, as the others have emptied the caches before. Each round begins with
    another one. A call that raises is left out from then on.

    Args:
        calls: The calls by name, ready to be timed: each should have run before.
        device: Is waited for after each call.

    Attributes:
        errors: Why a call was left out, by its name.
    """

    def __init__(self, calls: Mapping[str, Call], device: torch.device) -> None:
        self._calls = dict(calls)
        self._device = device
        self._seconds: dict[str, list[float]] = {name: [] for name in calls}
        self.errors: dict[str, str] = {}

    def run(self, seconds: float) -> None:
        """Goes on until each call had that much time on average, and at least 12 calls of it were timed.

        Args:
            seconds: Of each.
        """
        began, num_rounds = perf_counter(), 0
        while self._calls and (
            num_rounds * _CALLS_OF_A_TURN < _FEWEST_CALLS or perf_counter() - began < seconds * len(self._calls)
        ):
            names = list(self._calls)
            first = num_rounds % len(names)
            for name in (*names[first:], *names[:first]):
                self._turn(name)
            num_rounds += 1

    def latency(self, name: str) -> Latency | None:
        """Of a call so far; None if it was left out or had no turn yet."""
        if name in self.errors or not self._seconds.get(name):
            return None
        milliseconds = 1000 * np.array(self._seconds[name])
        p50, p95 = np.percentile(milliseconds, (50, 95))
        return Latency(float(p50), float(p95), len(milliseconds))

    def _turn(self, name: str) -> None:
        call = self._calls[name]
        try:
            call()
            wait_for(self._device)
            for _ in range(_CALLS_OF_A_TURN):
                began = perf_counter()
                call()
                wait_for(self._device)
                self._seconds[name].append(perf_counter() - began)
        except Exception as error:  # runtimes raise what they like
            self.errors[name] = first_line(error)
            del self._calls[name]


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was told; at once on a CPU."""
    wait: Callable[[], None] = torch.get_device_module(device).synchronize
    wait()
