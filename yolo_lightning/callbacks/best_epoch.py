"""Which validation of a run is the best so far."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

__all__ = ["BestEpoch"]


class BestEpoch:
    """Remembers the best value of a figure.

    Args:
        monitor: Name of the figure, the larger the better.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._best = -1.0

    @property
    def value(self) -> float:
        """The best so far; −1 before the first."""
        return self._best

    def is_now(self, trainer: Trainer) -> bool:
        """Whether the validation that just ended is better than all before, or stands by itself, outside of fit."""
        value = float(trainer.callback_metrics.get(self.monitor, 0.0))
        if trainer.state.fn == "fit" and not value > self._best:
            return False
        self._best = value
        return True

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure of a resumed run."""
        self._best = state_dict.get("best", -1.0)
