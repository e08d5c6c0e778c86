"""Times ``DetectionMetrics.compute`` on random detections of COCO's size: ``python benchmarks/metrics.py``."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from yolo_lightning.metrics import DetectionMetrics

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


def main() -> None:
    """Prints seconds and peak memory for each number of detections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_detections", type=int, nargs="+", default=[36_800, 500_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for number in arguments.num_detections:
        metric = DetectionMetrics([str(i) for i in range(NUM_CLASSES)])
        fill(metric, number, np.random.default_rng(0))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        result = metric.compute()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{number:>8} detections, {result['num_instances']} labels, {NUM_IMAGES} images: {seconds:.2f} s, "
            f"memory {before:.0f} -> {peak:.0f} MiB, map {result['map']:.4f}, yolov5_map {result['yolov5_map']:.4f}"
        )


if __name__ == "__main__":
    main()
