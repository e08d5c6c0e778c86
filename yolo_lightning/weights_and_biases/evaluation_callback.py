"""When a run shows W&B what was detected on single images."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, Trainer

from yolo_lightning.callbacks.evaluated_images import EvaluatedImages
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.types import Batch
from yolo_lightning.weights_and_biases.logger import RunWandbLogger, wandb_logger

__all__ = ["EvaluationCallback"]


class EvaluationCallback(Callback):
    """Shows the evaluation of every so many epochs and of the last one; that of ``validate`` and ``test`` once.

    The training thread does no more than hand over the arrays that the figures were read from.

    Args:
        interval: Number of epochs; None shows a tenth of them, or all if they are ten or fewer.

    Raises:
        ValueError: If it is not positive.
    """

    def __init__(self, interval: int | None) -> None:
        if interval is not None and interval < 1:
            raise ValueError(f"the interval of {type(self).__name__} must be at least 1 epoch, got {interval}")
        self._interval = interval
        self._images = EvaluatedImages()
        self._waiting: int | None = None

    @abstractmethod
    def show(self, trainer: Trainer, logger: RunWandbLogger, evaluation: StoredEvaluation, epoch: int | None) -> None:
        """Shows it; in the first process, where the run is open.

        Args:
            trainer: The trainer.
            logger: The run.
            evaluation: All detections and labels.
            epoch: The epoch that was evaluated, None outside of training.
        """

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Forgets the images of an evaluation that was not shown."""
        self._images.clear()
        self._waiting = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the names and sizes of the images."""
        self._images.add(batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the names and sizes of the images."""
        self._images.add(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Shows the evaluation, if its turn has come."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            self._show(trainer, pl_module, None)
        elif self._is_due(trainer):
            self._show(trainer, pl_module, trainer.current_epoch)
        else:
            self._waiting = trainer.current_epoch

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Shows the last evaluation of a run that ended before it was to."""
        if self._waiting is not None:
            self._show(trainer, pl_module, self._waiting)
        self._waiting = None

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Shows the evaluation."""
        self._show(trainer, pl_module, None)

    def _is_due(self, trainer: Trainer) -> bool:
        epochs = trainer.max_epochs or 0
        interval = self._interval or (epochs // 10 if epochs > 10 else 1)
        number = trainer.current_epoch + 1
        return number % interval == 0 or number == epochs

    def _show(self, trainer: Trainer, pl_module: Any, epoch: int | None) -> None:
        logger = wandb_logger(trainer)
        if logger is None:
            return
        evaluation = self._images.evaluation(trainer, pl_module)  # every process takes part
        self._images.clear()
        if logger.uploader is not None:
            self.show(trainer, logger, evaluation, epoch)
