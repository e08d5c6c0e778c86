"""The YOLOv5 reading and the confusion matrix equal the reference's figures."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_lightning.metrics import DetectionMetrics


def image(*rows):
    """Detections from rows (x1, y1, x2, y2, score, label)."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5]}


def labels(*rows):
    """Labels from rows (label, x1, y1, x2, y2)."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 5)
    return {"boxes": table[:, 1:], "labels": table[:, 0]}


def read(detections, targets, num_classes=1, **options):
    metric = DetectionMetrics([str(i) for i in range(num_classes)], **options)
    metric.update(detections, targets)
    return metric.compute()


@pytest.fixture(scope="module")
def golden_images(request):
    with np.load(request.getfixturevalue("golden") / "metrics.npz", allow_pickle=False) as file:
        arrays = dict(file)
    detections = [image(*arrays[f"det_{i}"]) for i in range(40)]
    return detections, [labels(*arrays[f"gt_{i}"]) for i in range(40)], arrays


def test_golden_numbers(golden_images):
    detections, targets, expected = golden_images
    result = read(detections, targets, 4)
    assert expected["classes"].tolist() == [0, 1, 2, 3]
    for key, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1"), ("yolov5_ap", "ap")):
        np.testing.assert_allclose(result[f"{key}_per_class"], expected[name], atol=1e-6)
    assert result["precision"] == pytest.approx(expected["precision"].mean(), abs=1e-6)
    assert result["yolov5_map"] == pytest.approx(expected["ap"].mean(), abs=1e-6)
    assert result["yolov5_map_50"] == pytest.approx(expected["ap"][:, 0].mean(), abs=1e-6)
    assert result["fitness"] == pytest.approx(0.1 * result["yolov5_map_50"] + 0.9 * result["yolov5_map"])


def test_golden_confusion_matrix(golden_images):
    detections, targets, expected = golden_images
    result = read(detections, targets, 4, reference_quirks=True)
    np.testing.assert_array_equal(result["confusion_matrix"], expected["confusion"])


def test_every_confident_detection_and_every_label_is_in_the_confusion_matrix(golden_images):
    detections, targets, _ = golden_images
    matrix = read(detections, targets, 4)["confusion_matrix"]
    confident = np.concatenate([item["labels"][item["scores"] > 0.25] for item in detections]).astype(int)
    labelled = np.concatenate([item["labels"] for item in targets]).astype(int)
    np.testing.assert_array_equal(matrix.sum(axis=1)[:-1], np.bincount(confident, minlength=4))
    np.testing.assert_array_equal(matrix.sum(axis=0)[:-1], np.bincount(labelled, minlength=4))
    assert matrix[-1, -1] == 0


def test_curves_hold_the_operating_point(golden_images):
    detections, targets, _ = golden_images
    result = read(detections, targets, 4)
    point = np.flatnonzero(result["curve_points"] == result["confidence"])[0]
    for name in ("precision", "recall", "f1"):
        assert result[f"{name}_curve"].shape == (4, 1000)
        np.testing.assert_array_equal(result[f"{name}_curve"][:, point], result[f"{name}_per_class"])
    assert (np.diff(result["recall_curve"]) <= 0).all()
    assert (np.diff(result["precision_recall_curve"]) <= 1e-12).all()


@pytest.mark.parametrize(
    ("detections", "targets", "expected"),
    [
        ([], [], (0, 0, 0)),
        ([], [(0, 0, 0, 9, 9)], (0, 0, 0)),
        ([(0, 0, 9, 9, 0.9, 0)], [], (0, 0, 0)),
        ([(50, 50, 99, 99, 0.9, 0)], [(0, 0, 0, 9, 9)], (0, 0, 0)),
        ([(0, 0, 9, 9, 0.9, 1)], [(0, 0, 0, 9, 9)], (0, 0, 0)),
        ([(0, 0, 9, 9, 0.9, 0)], [(0, 0, 0, 9, 9)], (0.995, 1, 1)),
    ],
)
def test_small_cases(detections, targets, expected):
    result = read([image(*detections)], [labels(*targets)], 2)
    assert (result["yolov5_map_50"], result["precision"], result["recall"]) == pytest.approx(expected)


def test_a_label_goes_to_the_most_confident_of_its_claims():
    loose_first = image((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 7, 0.5, 0))
    target = labels((0, 0, 0, 10, 7))
    at_each_threshold = read([loose_first], [target])["yolov5_ap_per_class"][0]
    # Up to .7 the first claim takes the label, above it overlaps too little and the second one does.
    np.testing.assert_allclose(at_each_threshold[:5], 0.995)
    np.testing.assert_allclose(at_each_threshold[5:], at_each_threshold[5])
    assert at_each_threshold[5] < 0.6


def test_a_second_choice_is_not_taken():
    detections = image((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0))
    targets = labels((0, 0, 0, 10, 10), (0, 0, 0, 10, 6))
    result = read([detections], [targets])
    assert result["recall_curve"][0, 0] == pytest.approx(0.5)
    assert result["confusion_matrix"].tolist() == [[1, 1], [1, 0]]


def test_classes_without_labels_are_left_out_of_the_means():
    detections = image((0, 0, 9, 9, 0.9, 0), (0, 0, 9, 9, 0.8, 2))
    result = read([detections], [labels((0, 0, 0, 9, 9))], 3)
    assert result["yolov5_map"] == pytest.approx(0.995)
    assert np.isnan(result["yolov5_map_per_class"]).tolist() == [False, True, True]
    assert np.isnan(result["f1_curve"]).all(axis=1).tolist() == [False, True, True]
    assert result["num_instances_per_class"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("quirks", "detections", "targets", "expected"),
    [
        (False, [], [], [[0, 0], [0, 0]]),
        (False, [(0, 0, 9, 9, 0.9, 0)], [], [[0, 1], [0, 0]]),
        (True, [(0, 0, 9, 9, 0.9, 0)], [], [[0, 0], [0, 0]]),
        (False, [(50, 50, 99, 99, 0.9, 0)], [(0, 0, 0, 9, 9)], [[0, 1], [1, 0]]),
        (True, [(50, 50, 99, 99, 0.9, 0)], [(0, 0, 0, 9, 9)], [[0, 0], [1, 0]]),
        (False, [(0, 0, 9, 9, 0.25, 0)], [(0, 0, 0, 9, 9)], [[0, 0], [1, 0]]),
        (False, [(0, 0, 9, 9, 0.3, 0)], [(0, 0, 0, 9, 9)], [[1, 0], [0, 0]]),
    ],
)
def test_background_of_the_confusion_matrix(quirks, detections, targets, expected):
    result = read([image(*detections)], [labels(*targets)], 1, reference_quirks=quirks)
    assert result["confusion_matrix"].tolist() == expected


def test_crowds_are_no_labels():
    target = labels((0, 0, 0, 9, 9), (0, 20, 20, 90, 90)) | {"iscrowd": [0, 1]}
    result = read([image((0, 0, 9, 9, 0.9, 0))], [target])
    assert (result["num_instances"], result["recall"]) == (1, 1.0)
    assert result["confusion_matrix"].tolist() == [[1, 0], [0, 0]]
