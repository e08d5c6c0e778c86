"""Times what is read from random detections of COCO's size: ``python benchmarks/metrics.py``.

For each number of detections, seconds and memory of ``DetectionMetrics.compute``, and of ``evaluate``,
``split_errors``, ``probable_label_errors`` and ``precision_intervals`` on what it collected. Memory is that of the
process, most of which is torch and torchmetrics, and what a step adds to its peak.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from yolo_lightning.metrics import (
    DetectionMetrics,
    evaluate,
    precision_intervals,
    probable_label_errors,
    split_errors,
)

NUM_IMAGES, NUM_CLASSES, LABELS_PER_IMAGE = 5000, 80, 7.3


def fill(metric: DetectionMetrics, num_detections: int, rng: np.random.Generator) -> None:
    """Adds images with labels, and detections about half of which are jittered labels."""
    for image in range(NUM_IMAGES):
        num_targets = rng.poisson(LABELS_PER_IMAGE)
        centres, sizes = rng.uniform(0, 640, (num_targets, 2)), rng.lognormal(4, 1, (num_targets, 2))
        boxes = np.hstack((centres - sizes / 2, centres + sizes / 2)).astype(np.float32)
        labels = rng.integers(0, NUM_CLASSES, num_targets)
        count = num_detections // NUM_IMAGES + (image < num_detections % NUM_IMAGES)
        chosen = rng.integers(0, max(num_targets, 1), count) if num_targets else np.zeros(0, dtype=np.int64)
        detected = boxes[chosen] + rng.normal(0, 6, (len(chosen), 4)).astype(np.float32)
        detected_labels = np.where(rng.random(len(chosen)) < 0.6, labels[chosen], rng.integers(0, NUM_CLASSES))
        scores = np.sort(rng.beta(0.5, 2, len(chosen)).astype(np.float32))[::-1].copy()
        metric.update(
            [{"boxes": detected, "scores": scores, "labels": detected_labels}],
            [{"boxes": boxes, "labels": labels}],
            [image],
        )


def measure(name: str, function: Callable[[], object]) -> None:
    """Prints seconds, and how far the step raises the highest memory of the process."""
    before = peak_memory()
    start = time.perf_counter()
    function()
    seconds, peak = time.perf_counter() - start, peak_memory()
    print(f"  {name}: {seconds:.2f} s, adds {peak - before:.0f} MiB, peak of the process {peak:.0f} MiB")


def peak_memory() -> float:
    """In MiB; it never falls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints seconds and peak memory for each number of detections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_detections", type=int, nargs="+", default=[36_800, 500_000])
    parser.add_argument("--num_resamples", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"imports: {peak_memory():.0f} MiB")
    for number in arguments.num_detections:
        before = peak_memory()
        metric = DetectionMetrics([str(i) for i in range(NUM_CLASSES)])
        fill(metric, number, np.random.default_rng(0))
        data = metric.evaluation_data()
        print(f"{len(data.scores)} detections, {len(data.target_labels)} labels, {NUM_IMAGES} images")
        print(f"  making and collecting them adds {peak_memory() - before:.0f} MiB")
        measure("DetectionMetrics.compute", metric.compute)
        measure("evaluate", partial(evaluate, data))
        measure("split_errors", partial(split_errors, data))
        measure("probable_label_errors", partial(probable_label_errors, data))
        measure(
            f"precision_intervals, {arguments.num_resamples} samples",
            partial(precision_intervals, data, num_resamples=arguments.num_resamples),
        )


if __name__ == "__main__":
    main()
