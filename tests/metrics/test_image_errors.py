"""What is wrong on each image."""

from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.make import make_data
from yolo_lightning.metrics.image_errors import confident, image_errors

A, B = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
FAR = (200.0, 200.0, 210.0, 210.0)


@pytest.mark.parametrize(
    ("detections", "labels", "missed", "false", "f1"),
    [
        ([], [], 0, 0, 1.0),
        ([], [(0, 0, *A)], 1, 0, 0.0),
        ([(0, 0, 0.9, *A)], [], 0, 1, 0.0),
        ([(0, 0, 0.9, *A)], [(0, 0, *A)], 0, 0, 1.0),
        ([(0, 1, 0.9, *A)], [(0, 0, *A)], 1, 1, 0.0),  # of another class
        ([(0, 0, 0.9, *A), (0, 0, 0.8, *A)], [(0, 0, *A), (0, 0, *B)], 1, 1, 0.5),  # found twice
        ([(0, 0, 0.9, *A), (0, 0, 0.8, *FAR)], [(0, 0, *A)], 0, 1, 2 / 3),
    ],
)
def test_errors_of_one_image(detections, labels, missed, false, f1):
    errors = image_errors(make_data(detections, labels, num_images=1))
    assert (errors.missed.tolist(), errors.false.tolist()) == ([missed], [false])
    assert errors.f1.tolist() == pytest.approx([f1])


def test_the_worst_image_comes_first_and_equals_stay_in_order():
    detections = [(1, 0, 0.9, *A), (3, 0, 0.9, *FAR), (4, 0, 0.9, *A)]
    labels = [(0, 0, *A), (1, 0, *A), (2, 0, *A), (3, 0, *A), (4, 0, *A), (4, 0, *B)]
    errors = image_errors(make_data(detections, labels, num_images=6))
    assert errors.worst_first().tolist() == [3, 0, 2, 4, 1, 5]


def test_less_confident_detections_are_left_out():
    data = make_data([(0, 0, 0.9, *A), (0, 0, 0.25, *B), (1, 0, 0.2, *A)], [(1, 0, *A)], num_images=2)
    shown = confident(data, 0.25)
    assert shown.scores.tolist() == pytest.approx([0.9, 0.25])
    assert shown.image_index.tolist() == [0, 0]
    assert np.array_equal(shown.target_boxes, data.target_boxes)
