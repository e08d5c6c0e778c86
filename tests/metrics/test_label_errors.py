"""Labels that were made wrong come first."""

from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.make import make_data
from yolo_lightning.metrics.label_errors import probable_label_errors

A, B, C = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0), (80.0, 80.0, 90.0, 90.0)
MIDDLING = (0.0, 0.0, 10.0, 5.0)  # IoU .5 with A


@pytest.mark.parametrize(
    ("detections", "kind", "score"),
    [
        ([(0, 0, 0.9, *A), (0, 1, 0.8, *C), (0, 2, 0.7, *C), (0, 0, 0.9, *B)], "missing", 0.8),
        ([(0, 1, 0.8, *A), (0, 0, 0.25, *A), (0, 0, 0.9, *B)], "wrong class", 0.6),
        ([(0, 0, 0.8, *MIDDLING), (0, 0, 0.25, *A), (0, 0, 0.9, *B)], "bad box", 0.6),
        ([(0, 0, 0.9, *A)], "spurious", 0.45),
    ],
)
def test_each_kind(detections, kind, score):
    issues = probable_label_errors(make_data(detections, [(0, 0, *A), (0, 0, *B)]))
    assert [(issue.kind, issue.image) for issue in issues] == [(kind, 0)]
    assert issues[0].score == pytest.approx(score)
    assert (issues[0].detection is None) == (kind == "spurious")
    assert issues[0].target == {"missing": None, "spurious": 1}.get(kind, 0)


def test_a_neighbour_of_the_class_hides_no_wrong_class():
    """At a cat, and a little on a dog that is found: the cat's class is in doubt, not the dog's box."""
    dog = (0.0, 5.0, 10.0, 15.0)
    (issue,) = probable_label_errors(make_data([(0, 1, 0.9, *dog), (0, 1, 0.8, *A)], [(0, 0, *A), (0, 1, *dog)]))
    assert (issue.kind, issue.target) == ("wrong class", 0)
    assert issue.score == pytest.approx(0.8)


def test_a_second_detection_at_two_labels_doubts_neither():
    data = make_data([(0, 0, 0.9, *A), (0, 0, 0.8, *A), (0, 1, 0.7, *A)], [(0, 0, *A), (0, 1, *A)])
    assert probable_label_errors(data) == []


def test_nothing_is_wrong():
    assert probable_label_errors(make_data([(0, 0, 0.9, *A)], [(0, 0, *A), (0, 0, *B, 1)])) == []
    assert probable_label_errors(make_data([], [])) == []


def test_the_list_is_as_long_as_wanted():
    data = make_data([(0, 0, 0.9 - i / 100, 100.0 * i, 0.0, 100.0 * i + 10, 10.0) for i in range(20)], [])
    issues = probable_label_errors(data, most=7)
    assert [issue.detection for issue in issues] == list(range(7))


def place_boxes(rng, count):
    """Boxes in different cells of a grid, so that they hardly touch."""
    cells = rng.permutation(25)[:count]
    corners = np.stack((cells % 5, cells // 5), 1) * 120.0 + rng.uniform(0, 30, (count, 2))
    return np.hstack((corners, corners + rng.uniform(40, 80, (count, 2))))


def detect(rng, image, boxes, labels, num_classes):
    """A good detector at a low threshold: few objects unnoticed, some hardly, boxes a little off, weak false alarms."""
    rows = []
    for box, label in zip(boxes, labels, strict=True):
        if (luck := rng.random()) < 0.003:
            continue
        size = box[2:] - box[:2]
        found = box + rng.normal(0, 0.02, 4) * np.tile(size, 2)
        rows.append((image, label, rng.beta(1, 12) if luck < 0.03 else rng.beta(8, 1.5), *found))
        if rng.random() < 0.3:
            rows.append((image, rng.integers(num_classes), rng.beta(1, 12), *found))
    for _ in range(rng.poisson(2)):
        corner = rng.uniform(0, 500, 2)
        rows.append((image, rng.integers(num_classes), rng.beta(1, 8), *corner, *(corner + rng.uniform(20, 90, 2))))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_corrupted_labels_rank_first(seed):
    rng, num_images, num_classes, number = np.random.default_rng(seed), 400, 5, 25
    detections, targets = [], []
    for image in range(num_images):
        boxes = place_boxes(rng, rng.integers(1, 9))
        labels = rng.integers(0, num_classes, len(boxes))
        detections += detect(rng, image, boxes, labels, num_classes)
        targets += [(image, label, *box) for label, box in zip(labels, boxes, strict=True)]
    chosen = rng.permutation(len(targets))[: 3 * number]
    dropped, swapped, shifted = (set(part.tolist()) for part in np.split(chosen, 3))
    corrupted = {"missing": [], "wrong class": [], "bad box": [], "spurious": []}
    kept = []
    for index, (image, label, *box) in enumerate(targets):
        if index in dropped:
            corrupted["missing"].append((image, *box))
            continue
        if index in swapped:
            label = (label + 1) % num_classes
            corrupted["wrong class"].append((image, *box))
        if index in shifted:
            offset = 0.45 * (box[2] - box[0])
            box = [box[0] + offset, box[1], box[2] + offset, box[3]]
            corrupted["bad box"].append((image, *box))
        kept.append((image, label, *box))
    for _ in range(number):
        box = rng.uniform(650, 900, 2)  # where there is nothing
        image = int(rng.integers(num_images))
        corrupted["spurious"].append((image, *box, *(box + 60)))
        kept.append((image, int(rng.integers(num_classes)), *box, *(box + 60)))
    data = make_data(detections, kept, num_classes, num_images)
    issues = probable_label_errors(data)
    assert [issue.score for issue in issues] == sorted((issue.score for issue in issues), reverse=True)

    def is_true(issue):
        if issue.target is not None:
            box = data.target_boxes[issue.target]
            return any(issue.image == image and np.allclose(box, b) for image, *b in corrupted[issue.kind])
        middle = data.boxes[issue.detection].reshape(2, 2).mean(0)
        others = corrupted["missing"]
        return any(issue.image == image and (middle > b[:2]).all() and (middle < b[2:]).all() for image, *b in others)

    true = np.array([is_true(issue) for issue in issues])
    precision = true[: 4 * number].mean()
    print(f"precision at {4 * number}: {precision:.3f}, of all {len(true)}: {true.sum()} found")
    assert precision >= 0.9
    assert true[: 2 * number].mean() >= 0.8
