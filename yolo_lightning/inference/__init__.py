"""From weights and pictures to answers. Importing is cheap: each name loads what it needs when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.inference.frames import Failure, Frame, Gap, Source
    from yolo_lightning.inference.loading import load
    from yolo_lightning.inference.predictor import Predictor
    from yolo_lightning.inference.results import Results

__all__ = ["Failure", "Frame", "Gap", "Predictor", "Results", "Source", "load"]

_MODULES = {
    "Failure": "frames",
    "Frame": "frames",
    "Gap": "frames",
    "Predictor": "predictor",
    "Results": "results",
    "Source": "frames",
    "load": "loading",
}

__getattr__ = lazy_names(__name__, _MODULES)
