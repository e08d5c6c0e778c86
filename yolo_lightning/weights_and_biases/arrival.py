"""Waiting for W&B to have an artifact."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Arrival"]


class Arrival(threading.Thread):
    """Waits for W&B to have an artifact; the client does not let a wait that was given up be taken up again.

    Args:
        artifact: As of ``log_artifact`` or ``use_artifact``.
    """

    def __init__(self, artifact: Any) -> None:
        super().__init__(name="wandb artifact", daemon=True)
        self.artifact = artifact
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Waits."""
        try:
            self.artifact.wait()
        except Exception as error:
            self._error = error

    def has_come(self, timeout: float) -> bool:
        """Whether W&B has it; raises what W&B has against it."""
        self.join(timeout)
        if self._error is not None:
            raise self._error
        return not self.is_alive()
