"""A profiler that listens to what Lightning does, and passes all on to the one in use."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.profilers import Profiler

__all__ = ["Listener", "stop_listening"]


class Listener(Profiler):
    """Takes the place of a Trainer's profiler, to which it passes all on.

    Subclasses extend ``start`` and ``stop``, which tell when actions begin and end.

    Args:
        trainer: The ``Trainer``; its profiler is the one passed on to.
    """

    def __init__(self, trainer: Any) -> None:
        super().__init__()
        self._trainer = trainer
        self.inner: Profiler = trainer.profiler

    def listen(self) -> None:
        """Begins to listen."""
        self._trainer.profiler = self

    def start(self, action_name: str) -> None:
        """Enters an action."""
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        """Leaves an action."""
        self.inner.stop(action_name)

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Prepares the profiler in use."""
        self.inner.setup(stage, local_rank, log_dir)

    def summary(self) -> str:
        """The summary of the profiler in use."""
        return self.inner.summary()

    def describe(self) -> None:
        """Shows the report of the profiler in use."""
        self.inner.describe()

    def teardown(self, stage: str | None) -> None:
        """Finishes the profiler in use."""
        self.inner.teardown(stage)

    def __del__(self) -> None:
        """Leaves the profiler in use as it is: its owner finishes it."""


def stop_listening(trainer: Any, kind: type[Listener]) -> None:
    """Gives the Trainer back the profiler that a listener of this kind took the place of, if one did."""
    if isinstance(trainer.profiler, kind):
        trainer.profiler = trainer.profiler.inner
