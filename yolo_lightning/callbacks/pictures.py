"""Pictures to look at: what the network was shown, and what it found."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from yolo_lightning.callbacks.best_epoch import BestEpoch
from yolo_lightning.callbacks.image_loggers import send_pictures
from yolo_lightning.drawing import draw_detections, draw_grid
from yolo_lightning.types import Batch, Detections

__all__ = ["Pictures"]


class Pictures(Callback):
    """Saves the first training batches with their labels, and the first evaluation batch, labels beside predictions.

    Files go to ``images/`` in the run directory. They are drawn off the training thread; if drawing fails, a warning
    says so once and the run goes on. Loggers that take images get them when the run ends. During fit the evaluation
    picture is that of the best epoch so far.

    Args:
        num_train_batches: Training batches to save, from the first.
        max_images: Most images in a picture.
        confidence_threshold: Predictions below it are not drawn.
        monitor: Figure that tells the best epoch, the larger the better.
        enabled: Whether to save any.
    """

    def __init__(
        self,
        num_train_batches: int = 3,
        max_images: int = 16,
        confidence_threshold: float = 0.25,
        monitor: str = "val/fitness",
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self.num_train_batches = num_train_batches
        self.max_images = max_images
        self.confidence_threshold = confidence_threshold
        self._best = BestEpoch(monitor)
        self._directory: Path | None = None
        self._shown: tuple[Batch, list[Detections]] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._failed = False
        self._files: dict[Path, None] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Finds the run directory."""
        directory = trainer.log_dir  # a broadcast: every process asks
        wanted = self.enabled and not getattr(trainer, "fast_dev_run", False)
        if wanted and directory is not None and trainer.is_global_zero:
            self._directory = Path(directory) / "images"
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Saves one of the first training batches."""
        if trainer.current_epoch == 0 and batch_idx < self.num_train_batches:
            labels = _labels_of(batch, self.max_images)
            self._save(f"train_batch{batch_idx}.jpg", self._images(batch), [labels], pl_module.class_names)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the first batch."""
        if batch_idx == 0 and not trainer.sanity_checking and self._worker is not None:
            self._shown = batch, outputs["detections"]

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the first batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Saves the batch if this is the best epoch so far, or a standalone validation."""
        if trainer.sanity_checking:
            return
        if self._best.is_now(trainer):
            self._save_evaluation("val", pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Saves the batch."""
        self._save_evaluation("test", pl_module)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Waits for the last picture, and hands all to the loggers."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
            self._worker = None
            send_pictures(trainer.loggers, list(self._files), trainer.global_step)
        self._shown = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Does the same when a run is stopped."""
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return self._best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best figure of a resumed run."""
        self._best.load_state_dict(state_dict)

    def _save_evaluation(self, prefix: str, pl_module: Any) -> None:
        if self._shown is None:
            return
        batch, detections = self._shown
        labels = _labels_of(batch, self.max_images)
        confident = [_above(found, self.confidence_threshold) for found in detections[: self.max_images]]
        self._save(f"{prefix}_batch0.jpg", self._images(batch), [labels, confident], pl_module.metrics.class_names)

    def _images(self, batch: Batch) -> Tensor:
        images = batch.images[: self.max_images]
        if images.is_floating_point():
            images = images.float().mul(255).round()
        return images.byte().permute(0, 2, 3, 1).cpu()

    def _save(self, name: str, images: Tensor, columns: list[list[Detections]], class_names: tuple[str, ...]) -> None:
        if self._worker is None or self._directory is None:
            return
        found = [[detections.to("cpu") for detections in column] for column in columns]
        self._files[self._directory / name] = None
        job = self._worker.submit(_write, self._directory / name, images.numpy(), found, class_names)
        job.add_done_callback(self._warn_once)

    def _warn_once(self, job: Future[None]) -> None:
        if (error := job.exception()) is not None and not self._failed:
            self._failed = True
            rank_zero_warn(f"pictures are not saved: {error!r}")


def _labels_of(batch: Batch, most: int) -> list[Detections]:
    labels = []
    for position in range(min(len(batch), most)):
        own = batch.image_index == position
        labels.append(Detections(batch.boxes[own], batch.boxes.new_ones(int(own.sum())), batch.labels[own]))
    return labels


def _above(found: Detections, threshold: float) -> Detections:
    keep = found.scores > threshold
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _write(
    path: Path, images: npt.NDArray[np.uint8], columns: list[list[Detections]], class_names: tuple[str, ...]
) -> None:
    """Draws labels, and predictions with their scores in a second column, and saves the picture."""
    tiles, titles = [], []
    for position, image in enumerate(images):
        for column, found in enumerate(columns):
            drawn = found[position]
            scores = drawn.scores.numpy() if column > 0 else None
            tiles.append(draw_detections(image, drawn.boxes.numpy(), drawn.labels.numpy(), class_names, scores))
            titles.append("predictions" if column > 0 else "labels")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_grid(tiles, columns=4, titles=titles if len(columns) > 1 else None)).save(path, quality=92)
