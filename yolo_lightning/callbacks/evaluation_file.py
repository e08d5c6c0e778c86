"""All detections and labels of an evaluation as a file, from which every figure can be read again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.callbacks.best_epoch import BestEpoch
from yolo_lightning.callbacks.evaluated_images import EvaluatedImages
from yolo_lightning.callbacks.evaluation_export import EXPORT_FORMATS, ExportFormat, export_detections
from yolo_lightning.callbacks.prediction_files import check_format
from yolo_lightning.metrics import EVALUATION_FILE, StoredEvaluation
from yolo_lightning.types import Batch

__all__ = ["EvaluationFile"]


class EvaluationFile(Callback):
    """Writes ``evaluation.npz``: what was detected and what was labelled on each image.

    ``yolo-lightning plot``, ``report`` and ``compare`` read it. During fit it is that of the best epoch so far, written
    off the training thread; if that fails, a warning says so once and the run goes on.

    Args:
        monitor: Figure that tells the best epoch, the larger the better.
        formats: Further files for the detections of validate and test: ``coco`` (``predictions.json``, COCO's result
            format), ``csv``, ``parquet``, ``txt`` (``labels/<image>.txt``, as data sets have them).
        txt_confidence: Whether the confidence ends each line of the label files.
        enabled: Whether to write any.

    Raises:
        ValueError: If there is no such format.
    """

    def __init__(
        self,
        monitor: str = "val/fitness",
        formats: Sequence[ExportFormat] = (),
        txt_confidence: bool = False,
        enabled: bool = True,
    ) -> None:
        if unknown := sorted(set(formats) - set(EXPORT_FORMATS)):
            raise ValueError(
                f"evaluation_file.formats holds {', '.join(unknown)}; there are {', '.join(EXPORT_FORMATS)}"
            )
        self.formats = tuple(formats)
        self.txt_confidence = txt_confidence
        self.enabled = enabled
        self._best = BestEpoch(monitor)
        self._images = EvaluatedImages()
        self._worker: ThreadPoolExecutor | None = None
        self._failed = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Starts the thread that writes.

        Raises:
            InputError: If a library is missing.
        """
        if "parquet" in self.formats:
            check_format("parquet")
        if self._wanted(trainer, stage) and trainer.is_global_zero:
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evaluation")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the names and sizes of the images."""
        if not trainer.sanity_checking:
            self._images.add(batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the names and sizes of the images."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the file, if this is the best epoch so far or a standalone validation."""
        if trainer.sanity_checking:
            return
        if self._best.is_now(trainer):
            self._save(trainer, pl_module)
        self._images.clear()

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the file."""
        self._save(trainer, pl_module)
        self._images.clear()

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Waits until the file is written."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
            self._worker = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Waits until the file is written, from which a run that was stopped is plotted."""
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return self._best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure of a resumed run."""
        self._best.load_state_dict(state_dict)

    def _wanted(self, trainer: Trainer, stage: str) -> bool:
        return self.enabled and stage != "predict" and not getattr(trainer, "fast_dev_run", False)

    def _save(self, trainer: Trainer, pl_module: Any) -> None:
        if not self._wanted(trainer, str(trainer.state.fn)):
            return
        evaluation = self._images.evaluation(trainer, pl_module)
        directory = trainer.log_dir  # a broadcast: every process asks
        if self._worker is None or directory is None:
            return
        formats = () if trainer.state.fn == "fit" else self.formats
        job = self._worker.submit(_write, evaluation, Path(directory), formats, self.txt_confidence)
        job.add_done_callback(self._warn_once)

    def _warn_once(self, job: Future[None]) -> None:
        if (error := job.exception()) is not None and not self._failed:
            self._failed = True
            rank_zero_warn(f"{EVALUATION_FILE} is not written: {error!r}")


def _write(evaluation: StoredEvaluation, directory: Path, formats: Sequence[ExportFormat], confidence: bool) -> None:
    evaluation.save(directory / EVALUATION_FILE)
    if formats:
        export_detections(evaluation, directory, formats, confidence)
