"""Small evaluations, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.metrics.make import make_data
from yolo_lightning.metrics import StoredEvaluation

SIZE = (40, 80)  # of all images


def make_evaluation(
    detections: Sequence[tuple[float, ...]],
    labels: Sequence[tuple[float, ...]],
    num_images: int = 3,
    class_names: Sequence[str] = ("cat", "dog", "cow"),
    split: str = "val",
) -> StoredEvaluation:
    """Rows of image, class, score and box, and of image, class and box; images of ids 10, 11, … ."""
    data = make_data(detections, labels, num_images=num_images, num_classes=len(class_names))
    return StoredEvaluation(
        data,
        tuple(class_names),
        tuple(f"/data/images/val/{index}.png" for index in range(num_images)),
        np.arange(10, 10 + num_images),
        np.tile(SIZE, (num_images, 1)),
        split,
        0,
    )
