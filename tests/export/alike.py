"""Whether a file finds in pictures what the calm network finds."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tests.export.conftest import calm_detector
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.inference import Predictor
from yolo_lightning.types import Detections

__all__ = ["SETTINGS", "assert_alike", "pictures", "plain"]

ROUNDING = {"float32": (0.1, 1e-3), "float16": (4.0, 0.02), "int8": (20.0, 0.1)}
SETTINGS = {"confidence_threshold": 0.3, "iou_threshold": 0.5, "max_detections": 20}


def pictures(*shapes: tuple[int, int]) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, 256, (*shape, 3), np.uint8) for n, shape in enumerate(shapes)]


def plain(size: int = 64) -> Predictor:
    return Predictor(calm_detector(), CLASS_NAMES, device="cpu", size=size, **SETTINGS)


def matched(one: Detections, others: Detections, pixels: float, score: float) -> Tensor:
    """Which have one alike: where rounding decides, suppression leaves another."""
    alike = (one.boxes[:, None] - others.boxes).abs().amax(-1) < pixels
    return (alike & ((one.scores[:, None] - others.scores).abs() < score) & (one.labels[:, None] == others.labels)).any(
        1
    )


def assert_alike(exported: Predictor, plain: Predictor, images: list[np.ndarray], precision: str = "float32") -> None:
    found, wanted = exported(images).detections, plain(images).detections
    for one, other in zip(found, wanted, strict=True):
        assert len(other) > 5
        assert abs(len(one) - len(other)) <= 1
        assert matched(one, other, *ROUNDING[precision]).sum() >= len(one) - 1
        assert matched(other, one, *ROUNDING[precision]).sum() >= len(other) - 1
