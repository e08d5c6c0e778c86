"""Pictures for the loggers that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

__all__ = ["send_pictures"]

_FOLDER = "images"


def send_pictures(loggers: Iterable[Logger], pictures: Sequence[Path], step: int) -> None:
    """Hands pictures to TensorBoard, MLflow, and each logger that has Lightning's ``log_image``, as W&B's does.

    A logger that fails is warned of once, and gets no more of these; the others do.

    Args:
        loggers: Those of the run; others are left alone.
        pictures: Files; one that does not exist is left out.
        step: Training step at which they are shown.
    """
    existing = [picture for picture in pictures if picture.is_file()]
    for logger in loggers:
        send = _sender(logger)
        if send is None:
            continue
        try:
            for picture in existing:
                send(picture, step)
        except Exception as error:
            rank_zero_warn(f"{type(logger).__name__} does not get the pictures of the run: {error!r}")


def _sender(logger: Any) -> Callable[[Path, int], None] | None:
    if isinstance(logger, TensorBoardLogger):
        return lambda picture, step: logger.experiment.add_image(
            f"{_FOLDER}/{picture.stem}", np.asarray(Image.open(picture).convert("RGB")), step, dataformats="HWC"
        )
    if isinstance(logger, MLFlowLogger):
        return lambda picture, step: logger.experiment.log_artifact(str(logger.run_id), str(picture), _FOLDER)
    if callable(getattr(logger, "log_image", None)):
        return lambda picture, step: logger.log_image(key=f"{_FOLDER}/{picture.stem}", images=[str(picture)], step=step)
    return None
