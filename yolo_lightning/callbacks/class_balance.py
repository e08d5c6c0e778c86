"""What validation found out about the classes, for sampling that asks for it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

__all__ = ["ClassBalance"]


class ClassBalance(Callback):
    """Hands each class's average precision to the data after every validation of a fit.

    Data whose sampling does not depend on it, or that has no ``update_sampling``, is left alone. The figures are the
    same in all processes, and so is the order of images that follows from them.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Tells the data module, which keeps the figures in the checkpoint."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        update = getattr(getattr(trainer, "datamodule", None), "update_sampling", None)
        average_precision = getattr(pl_module, "results", {}).get("yolov5_map_per_class")
        if update is not None and average_precision is not None:
            update(average_precision.tolist())
