"""Evaluations to measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolo_lightning.metrics.matching import EvaluationData
from yolo_lightning.metrics.stored import StoredEvaluation


def make_data(detections, targets, num_classes=3, num_images=1):
    """Evaluation of rows: (image, class, score, x1, y1, x2, y2) of detections, (image, class, x1, y1, x2, y2[, crowd])
    of labels."""
    found = np.array(detections, dtype=np.float64).reshape(-1, 7)
    labelled = np.array([(*row, 0)[:7] for row in targets], dtype=np.float64).reshape(-1, 7)
    found = found[np.lexsort((-found[:, 2], found[:, 0]))]
    labelled = labelled[np.argsort(labelled[:, 0], kind="stable")]
    boxes = labelled[:, 2:6]
    return EvaluationData(
        num_classes=num_classes,
        num_images=num_images,
        boxes=found[:, 3:],
        scores=found[:, 2],
        labels=found[:, 1].astype(np.int64),
        image_index=found[:, 0].astype(np.int64),
        target_boxes=boxes,
        target_labels=labelled[:, 1].astype(np.int64),
        target_image_index=labelled[:, 0].astype(np.int64),
        target_crowd=labelled[:, 6].astype(np.bool_),
        target_areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
    )


def random_rows(seed, num_images=4, num_classes=3, max_targets=8, max_detections=14, crowd_share=0.0, quality=0.7):
    """Rows for :func:`make_data`: detections, a share of which is near a label, with few distinct scores."""
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for image in range(num_images):
        corners = rng.uniform(0, 150, (rng.integers(0, max_targets + 1), 2))
        boxes = np.hstack((corners, corners + rng.uniform(10, 60, corners.shape)))
        labels = rng.integers(0, num_classes, len(boxes))
        crowd = rng.random(len(boxes)) < crowd_share
        targets += [(image, label, *box, c) for label, box, c in zip(labels, boxes, crowd, strict=True)]
        for _ in range(rng.integers(0, max_detections + 1)):
            score = np.ceil(rng.random() * 50) / 50
            if len(boxes) and rng.random() < quality:
                source = rng.integers(len(boxes))
                box = boxes[source] + rng.normal(0, rng.choice([1, 8]), 4)
                label = labels[source] if rng.random() < 0.8 else rng.integers(num_classes)
            else:
                corner = rng.uniform(0, 150, 2)
                box, label = np.hstack((corner, corner + rng.uniform(10, 60, 2))), rng.integers(num_classes)
            box[2:] = np.maximum(box[2:], box[:2])
            detections.append((image, label, score, *box))
    return detections, targets


def make_stored(num_images, seed=0, with_labels=True):
    """A middling model of three classes: finds most labels, with some wrong classes and some false alarms."""
    rng = np.random.default_rng(seed)
    _, targets = random_rows(seed, num_images)
    detections = []
    for image, label, *rest in targets:
        box = np.array(rest[:4]) + rng.normal(0, 2, 4)
        if rng.random() < 0.85:
            detections.append((image, label if rng.random() < 0.9 else rng.integers(3), rng.beta(5, 2), *box))
        if rng.random() < 0.4:
            detections.append((image, rng.integers(3), rng.beta(2, 4), *(box + rng.uniform(30, 60))))
    data = make_data(detections, targets if with_labels else [], num_images=num_images)
    return StoredEvaluation(
        data,
        ("cat", "dog", "straße"),
        tuple(f"images/{index}.png" for index in range(num_images)),
        np.arange(num_images),
        np.full((num_images, 2), 250),
        "val",
    )


def perturbed(evaluation, noise, keep=1.0, seed=1):
    """The model with noise on its scores, and with a share of its detections."""
    rng = np.random.default_rng(seed)
    data = evaluation.data
    scores = np.clip(data.scores + rng.normal(0, noise, len(data.scores)), 0.001, 1)
    order = np.lexsort((-scores, data.image_index))
    order = order[rng.random(len(order)) < keep]
    columns = {name: getattr(data, name)[order] for name in ("boxes", "labels", "image_index")}
    return replace(evaluation, data=replace(data, scores=scores[order], **columns))
