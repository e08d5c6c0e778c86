"""What a run at W&B needs to know of training: when an epoch is over, what is best, how it ended."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from yolo_lightning.callbacks.best_epoch import BestEpoch
from yolo_lightning.weights_and_biases.history import metrics_rows
from yolo_lightning.weights_and_biases.logger import wandb_logger

__all__ = ["WandbRun"]

_SIGNAL = 128  # what a shell adds to the number of the signal that ended a process


class WandbRun(Callback):
    """Logs the row of an epoch as soon as it is whole, the figures of the best epoch, and how the run ended.

    The figures of the best epoch are ``best/…`` in the run's summary, by which W&B's table of runs sorts. A run that is
    preempted (SIGTERM) is shown as such, and as failed, not as finished. The checkpoint knows the run, so that
    ``--ckpt_path last`` goes on with it.

    Args:
        monitor: Figure that tells the best epoch, the larger the better.
    """

    def __init__(self, monitor: str = "val/fitness") -> None:
        self._best = BestEpoch(monitor)
        self._address: str | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Notes which run it is."""
        logger = wandb_logger(trainer)
        if logger is not None and logger.address is not None:
            self._address = str(logger.address)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Logs the epochs of a resumed run that W&B does not have: a process that was killed had not sent them."""
        logger = wandb_logger(trainer)
        if logger is not None and trainer.is_global_zero and trainer.current_epoch > 0:
            for row in metrics_rows(logger.directory):
                if row["epoch"] < trainer.current_epoch:
                    logger.log_epoch(row)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Logs the epoch before, which is whole now: others report on it when the next one starts."""
        if batch_idx == 0:
            self._commit(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Logs the last epoch."""
        self._commit(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Sets the figures of the best epoch."""
        logger = wandb_logger(trainer)
        if trainer.sanity_checking or trainer.state.fn != "fit" or not self._best.is_now(trainer):
            return
        if logger is not None:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            best = {name.replace("val/", "best/"): value for name, value in figures.items() if name.startswith("val/")}
            logger.log_summary({**best, "best/epoch": trainer.current_epoch})

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Notes how the run ends, which it does right after this."""
        logger = wandb_logger(trainer)
        if logger is None:
            return
        if isinstance(exception, SIGTERMException):
            logger.exit_code, logger.preempted = _SIGNAL + signal.SIGTERM, True
        elif isinstance(exception, KeyboardInterrupt):
            logger.exit_code = _SIGNAL + signal.SIGINT

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far, and which run it is."""
        return {**self._best.state_dict(), "run": self._address}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure."""
        self._best.load_state_dict(state_dict)

    def _commit(self, trainer: Trainer) -> None:
        if (logger := wandb_logger(trainer)) is not None:
            logger.commit()
