"""A learning-rate schedule of a user's own, named in YAML by the tests."""

from __future__ import annotations

from yolo_lightning.optim import Schedule


class Steps(Schedule):
    """Falls by a factor at each of some epochs.

    Args:
        epochs: When it falls.
        by: The factor.
    """

    def __init__(self, epochs: list[int], by: float = 0.1) -> None:
        self.epochs = epochs
        self.by = by

    def factor(self, epoch: float, num_epochs: int) -> float:
        return self.by ** sum(epoch >= fall for fall in self.epochs)
