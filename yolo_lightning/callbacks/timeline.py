"""Attributes the time of a run to parts, from the actions that Lightning reports to its profiler."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback

from yolo_lightning.callbacks.listener import Listener

__all__ = ["PARTS", "Clock", "DeviceClock", "HostClock", "Timeline"]

PARTS = ("data", "copy", "forward", "backward", "optimizer", "callbacks", "validation")
"""Waiting for data; copy to the device; network and loss; gradients; clipping and step; callbacks, logging and all else
that the loop does between the steps; validation."""

_BETWEEN = "loop"
_STRATEGY_PARTS = {"batch_to_device": "copy", "training_step": "forward", "backward": "backward"}


class Clock(Protocol):
    """Measures time in consecutive intervals, each of which belongs to a part."""

    def charge(self, part: str) -> None:
        """The time since the last call, or since the clock was made, belongs to ``part``."""

    def take(self) -> dict[str, float]:
        """Seconds of each part since the last taking."""


class HostClock(Clock):
    """Time of the process; right where the process itself computes."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def charge(self, part: str) -> None:
        """See `Clock.charge`."""
        now = time.perf_counter()
        self._seconds[part] += now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """See `Clock.take`."""
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds


class DeviceClock(Clock):
    """Time of a GPU, which lags behind the process that feeds it, from events between the kernels of its stream.

    An interval is what the stream computed in it, or how long it had nothing to do: work of the process that is hidden
    behind that of the GPU costs nothing, as it should. Nothing waits for the GPU but :meth:`take`.

    Args:
        new_event: Makes an event that measures time.
    """

    def __init__(self, new_event: Callable[[], Any] = partial(torch.cuda.Event, enable_timing=True)) -> None:
        self._new_event = new_event
        self._spare: list[Any] = []
        self._pending: deque[tuple[str, Any]] = deque()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._last = self._record()

    def charge(self, part: str) -> None:
        """See `Clock.charge`."""
        self._pending.append((part, self._record()))
        while self._pending and self._pending[0][1].query():
            self._resolve()

    def take(self) -> dict[str, float]:
        """See `Clock.take`; waits until the GPU has come to the end of the last interval."""
        if self._pending:
            self._pending[-1][1].synchronize()
        while self._pending:
            self._resolve()
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds

    def _record(self) -> Any:
        event = self._spare.pop() if self._spare else self._new_event()
        event.record()
        return event

    def _resolve(self) -> None:
        part, event = self._pending.popleft()
        self._seconds[part] += self._last.elapsed_time(event) / 1000
        self._spare.append(self._last)
        self._last = event


class Timeline(Listener):
    """Attributes the time of each moment to one of `PARTS`.

    Actions nest; the innermost that tells a part counts. What lies between them is the loop's own work, such as
    logging, and counts as ``callbacks``, so that nothing is left over.

    Args:
        trainer: The ``Trainer``; its profiler is the one passed on to.
    """

    def __init__(self, trainer: Any) -> None:
        super().__init__(trainer)
        self._clock: Clock | None = None
        self._part = _BETWEEN
        self._open: list[str] = []
        self._began = 0.0
        self._known: dict[str, tuple[str | None, str | None]] = {}
        self._callback_starts: list[tuple[str, float]] = []
        self._callback_seconds: defaultdict[str, float] = defaultdict(float)

    def begin(self, clock: Clock) -> None:
        """Begins to measure; what went before is forgotten."""
        self._clock = clock
        self._callback_seconds.clear()
        self._began = time.perf_counter()

    def end(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """Stops measuring.

        Returns:
            Seconds since :meth:`begin`; seconds of each part; and seconds of the process in each callback, by name.
        """
        if self._clock is None:
            return 0.0, {}, {}
        self._clock.charge(self._part)
        parts = self._clock.take()
        parts["callbacks"] = parts.get("callbacks", 0.0) + parts.pop(_BETWEEN, 0.0)
        self._clock = None
        return time.perf_counter() - self._began, parts, dict(self._callback_seconds)

    def start(self, action_name: str) -> None:
        """Enters an action."""
        super().start(action_name)
        part, callback = self._meaning(action_name)
        if part is None:
            return
        if self._trainer.validating:
            part = "validation"
            if self._part == _BETWEEN:  # no action tells that validation is prepared
                self._part = part
        self._open.append(part)
        self._switch(part)
        if callback is not None:
            self._callback_starts.append((action_name, time.perf_counter()))

    def stop(self, action_name: str) -> None:
        """Leaves an action."""
        part, callback = self._meaning(action_name)
        if part is not None:
            if self._callback_starts and self._callback_starts[-1][0] == action_name:
                seconds = time.perf_counter() - self._callback_starts.pop()[1]
                self._callback_seconds[callback or ""] += seconds
            if self._open:  # empty for an action that began before this profiler
                self._open.pop()
            self._switch("validation" if self._trainer.validating else self._around)
        super().stop(action_name)

    @property
    def _around(self) -> str:
        return self._open[-1] if self._open else _BETWEEN

    def _switch(self, part: str) -> None:
        if part != self._part:
            if self._clock is not None:
                self._clock.charge(self._part)
            self._part = part

    def _meaning(self, action: str) -> tuple[str | None, str | None]:
        """Part that an action tells, None for that around it; and the callback's name, if it is one's."""
        known = self._known.get(action)
        if known is None:
            known = self._known[action] = self._parse(action)
        return known

    def _parse(self, action: str) -> tuple[str | None, str | None]:
        owner, _, hook = action.rpartition(".")
        if hook == "train_dataloader_next":
            return "data", None
        if owner.startswith("[Strategy]"):
            return _STRATEGY_PARTS.get(hook), None
        if owner.startswith("[LightningModule]"):
            if hook == "optimizer_step":
                return "optimizer", None
            return ("callbacks" if hook.startswith("on_") and "transfer" not in hook else None), None
        if owner.startswith("[Callback]"):
            callback = self._callback(owner.removeprefix("[Callback]"))
            # most hooks of most callbacks are the empty ones of the base class
            if callback is None or getattr(type(callback), hook, None) is not getattr(Callback, hook, None):
                return "callbacks", type(callback).__name__ if callback is not None else owner
        return None, None

    def _callback(self, state_key: str) -> Callback | None:
        callbacks: list[Callback] = self._trainer.callbacks
        return next((callback for callback in callbacks if callback.state_key == state_key), None)
