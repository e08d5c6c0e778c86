"""Plots of a run when it ends."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.callbacks.image_loggers import send_pictures

__all__ = ["Plots"]


class Plots(Callback):
    """Draws what ``yolo-lightning plot`` draws, into ``images/`` of the run directory, and hands it to the loggers.

    Losses, metrics, learning rates, curves of precision and recall, confusion matrices and the labels of the training
    data, whose counts are kept in ``labels.npz``. They are drawn from the files of the run when it has ended, also by
    Ctrl-C or an error; if drawing fails, a warning says so once.

    Args:
        enabled: Whether to draw any.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._directory: Path | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._failed = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Finds the run directory."""
        directory = trainer.log_dir  # a broadcast: every process asks
        wanted = self.enabled and stage != "predict" and not getattr(trainer, "fast_dev_run", False)
        if wanted and directory is not None and trainer.is_global_zero:
            self._directory = Path(directory)
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plots")

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begins to count the labels of the training data."""
        if self._worker is None or self._directory is None:
            return
        data: Any = getattr(trainer, "datamodule", None)
        images = data.dataset("train") if callable(getattr(data, "dataset", None)) else None
        if all(hasattr(images, name) for name in ("annotations", "image_size", "class_names", "__len__")):
            self._worker.submit(_count_labels, images, self._directory).add_done_callback(self._warn_once)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Draws."""
        self._draw(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Draws what there is of a training that was stopped."""
        if trainer.state.fn == "fit":
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        """Draws in another thread, so that Ctrl-C is heard meanwhile; then hands the pictures on."""
        worker, directory = self._worker, self._directory
        self._worker = self._directory = None
        if worker is None or directory is None:
            return
        for logger in trainer.loggers:
            logger.save()  # Lightning's own CSVLogger writes its last rows when it ends, which is later
        job = worker.submit(_draw_files, directory, trainer.state.fn == "fit")
        job.add_done_callback(self._warn_once)
        worker.shutdown(wait=True)
        if job.exception() is None:
            files, failures = job.result()
            if failures:
                self._warn(failures[0])
            send_pictures(trainer.loggers, files, trainer.global_step)

    def _warn_once(self, job: Future[Any]) -> None:
        if (error := job.exception()) is not None:
            self._warn(repr(error))

    def _warn(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            rank_zero_warn(f"plots are not drawn, or not all of them: {reason}")


# matplotlib is imported when it is needed, in the thread that draws.


def _count_labels(images: Any, directory: Path) -> None:
    from yolo_lightning.plots.label_statistics import LABELS_FILE, LabelStatistics

    statistics = LabelStatistics.collect(images)
    directory.mkdir(parents=True, exist_ok=True)
    statistics.save(directory / LABELS_FILE)


def _draw_files(directory: Path, is_training: bool) -> tuple[list[Path], list[str]]:
    """The pictures, and what went wrong; none of a run that ended before it had figures."""
    from yolo_lightning.metrics import EVALUATION_FILE
    from yolo_lightning.plots.history import HISTORY_FILE
    from yolo_lightning.plots.run import EVALUATION_PICTURES, PICTURES, Run, draw_run

    if not any((directory / name).is_file() for name in (HISTORY_FILE, EVALUATION_FILE)):
        return [], []
    wanted = PICTURES if is_training else EVALUATION_PICTURES
    drawn = draw_run(Run.read(directory), directory / "images", wanted=wanted, placeholders=True)
    return drawn.files, drawn.failures
