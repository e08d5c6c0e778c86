"""mAP of networks, by the evaluation of ``validate``."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Trainer

from yolo_lightning.data import DetectionDataModule
from yolo_lightning.models import Detector
from yolo_lightning.module import DetectionModule
from yolo_lightning.ops import NMS

__all__ = ["evaluate_network", "interruptible", "quiet"]


def evaluate_network(
    detector: Detector,
    data: Path,
    *,
    image_size: tuple[int, int],
    split: Literal["train", "val", "test"] = "val",
    rectangular: bool = False,
    batch_size: int = 16,
    num_workers: int | None = None,
    postprocess: Callable[[], NMS] = NMS,
) -> dict[str, float]:
    """The figures that ``validate`` logs for a network, on the CPU.

    Args:
        detector: Plain, or exported.
        data: The data.yaml.
        image_size: Height and width of the images.
        split: Which images.
        rectangular: Whether images of like shape are seen on canvases that suit them.
        batch_size: Images that go through the network together.
        num_workers: Processes that read images; None takes one for each core.
        postprocess: Suppression; by default that of ``validate``.

    Raises:
        InputError: If the data cannot be read, or does not suit the network.
        KeyboardInterrupt: If Ctrl-C was pressed.
    """
    stride = detector.strides[-1]
    images = DetectionDataModule(
        data,
        validate_split=split,
        image_size=image_size,
        rectangular=rectangular,
        stride=stride,
        eval_batch_size=batch_size,
        num_workers=num_workers,
    )
    names = images.dataset(split).class_names
    with quiet(), interruptible():
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.validate(
            DetectionModule(names, detector=lambda _: detector, postprocess=postprocess),
            datamodule=images,
            verbose=False,
        )
    return {name.removeprefix("val/"): float(value) for name, value in trainer.callback_metrics.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Lightning tells of every evaluation."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C be what it is elsewhere; Lightning ends the process, and ignores it from then on."""
    handler: Any = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        signal.signal(signal.SIGINT, handler)
        if isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped
        raise
