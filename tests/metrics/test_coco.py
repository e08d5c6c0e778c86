"""The COCO reading equals pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo_lightning.metrics import DetectionMetrics

SCALARS = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
)


def pycocotools_reading(detections, targets, num_classes):
    """The twelve numbers and AP by class, from the reference tool."""
    truth, results = COCO(), COCO()
    categories = [{"id": i, "name": str(i)} for i in range(num_classes)]
    images = [{"id": i} for i in range(len(targets))]
    truth.dataset = {"images": images, "categories": categories, "annotations": _annotations(targets)}
    results.dataset = {"images": images, "categories": categories, "annotations": _annotations(detections)}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = np.where((precision > -1).any((0, 1)), precision.mean((0, 1)), np.nan)
    return dict(zip(SCALARS, evaluation.stats, strict=True)), per_class


def _annotations(images):
    rows = []
    for image_id, image in enumerate(images):
        for i, box in enumerate(image["boxes"].astype(np.float64)):
            x1, y1, x2, y2 = box.tolist()
            crowd = int(image["iscrowd"][i]) if "iscrowd" in image else 0
            area = float(image["area"][i]) if "area" in image else (x2 - x1) * (y2 - y1)
            row = {"id": len(rows) + 1, "image_id": image_id, "category_id": int(image["labels"][i]), "area": area}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": crowd}
            rows.append(row | ({"score": float(image["scores"][i])} if "scores" in image else {}))
    return rows


def random_images(seed, num_images, num_classes, max_targets, max_detections, step, crowd_share, with_area):
    """Boxes on a grid of ``step`` pixels and few scores, so that overlaps, areas and scores tie."""
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(num_images):
        count, num_detections = rng.integers(0, max_targets + 1), rng.integers(0, max_detections + 1)
        boxes = random_boxes(rng, count, step)
        target = {"boxes": boxes, "labels": rng.integers(0, num_classes, count)}
        if crowd_share:
            target["iscrowd"] = rng.random(count) < crowd_share
        if with_area:
            target["area"] = rng.choice([1023.999, 1024.0, 1024.001, 9215.5, 9216.0, 9217.0, 5.0], count)
        targets.append(target)
        found = random_boxes(rng, num_detections, step)
        labels = rng.integers(0, num_classes, num_detections)
        if count:
            near = rng.random(num_detections) < 0.7
            source = rng.integers(0, count, num_detections)
            jitter = np.round(rng.normal(0, 4, (num_detections, 4)) / step) * step
            found[near] = (boxes[source] + jitter).astype(np.float32)[near]
            labels[near] = target["labels"][source][near]
            found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        scores = (np.round(rng.random(num_detections) * 8) / 8).astype(np.float32)
        detections.append({"boxes": found, "scores": scores, "labels": labels})
    return detections, targets


def random_boxes(rng, count, step):
    corners = np.round(rng.uniform(0, 120, (count, 2)) / step) * step
    sizes = rng.choice([0.0, 8.0, 16.0, 32.0, 48.0, 96.0, 128.0], (count, 2))
    return np.hstack((corners, corners + sizes)).astype(np.float32)


def assert_equal_to_pycocotools(detections, targets, num_classes):
    metric = DetectionMetrics([str(i) for i in range(num_classes)])
    metric.update(detections, targets)
    result = metric.compute()
    scalars, per_class = pycocotools_reading(detections, targets, num_classes)
    assert {key: result[key] for key in SCALARS} == pytest.approx(scalars, abs=1e-9)
    np.testing.assert_allclose(result["map_per_class"], per_class, atol=1e-9)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 8),
    num_classes=st.integers(1, 4),
    max_targets=st.integers(0, 12),
    max_detections=st.integers(0, 25),
    step=st.sampled_from([0.37, 1.0, 8.0]),
    crowd_share=st.sampled_from([0.0, 0.3, 1.0]),
    with_area=st.booleans(),
)
@example(0, 3, 1, 6, 150, 8.0, 0.2, False)  # more than 100 detections of a class in an image
@example(1, 1, 2, 0, 5, 1.0, 0.0, False)  # no labels at all
@example(2, 2, 2, 6, 0, 1.0, 0.0, True)  # no detections at all
def test_equals_pycocotools(seed, num_images, num_classes, max_targets, max_detections, step, crowd_share, with_area):
    images = random_images(seed, num_images, num_classes, max_targets, max_detections, step, crowd_share, with_area)
    assert_equal_to_pycocotools(*images, num_classes)


def test_many_images_equal_pycocotools():
    assert_equal_to_pycocotools(*random_images(7, 120, 6, 15, 60, 0.37, 0.1, with_area=False), 6)


def box_image(*boxes, **columns):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": np.zeros(len(boxes), dtype=np.int64), **columns}


@pytest.mark.parametrize(
    ("detections", "target", "expected"),
    [
        ([], [], -1.0),
        ([], [(0, 0, 10, 10)], 0.0),
        ([(0, 0, 10, 10)], [], -1.0),
        ([(0, 0, 10, 10)], [(0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 10), (0, 0, 10, 10)], [(0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 6)], [(0, 0, 10, 10)], 0.3),  # an overlap of .6 counts at .5, .55 and .6
    ],
)
def test_small_cases(detections, target, expected):
    metric = DetectionMetrics(["thing"])
    scores = np.linspace(0.9, 0.5, len(detections)).astype(np.float32)
    metric.update([box_image(*detections, scores=scores)], [box_image(*target)])
    assert metric.compute()["map"] == pytest.approx(expected)


def test_detections_on_a_crowd_are_ignored():
    metric = DetectionMetrics(["thing"])
    found = box_image((0, 0, 9, 9), (50, 50, 60, 60), (51, 51, 59, 59), scores=np.array([0.5, 0.9, 0.8], np.float32))
    target = box_image((0, 0, 9, 9), (40, 40, 99, 99), iscrowd=np.array([False, True]))
    metric.update([found], [target])
    result = metric.compute()
    assert result["map"] == pytest.approx(1.0)
    assert result["num_instances"] == 1


def test_area_of_the_object_rather_than_of_the_box_decides_its_size():
    metric = DetectionMetrics(["thing"])
    image = box_image((0, 0, 100, 100), scores=np.array([0.9], np.float32))
    metric.update([image], [box_image((0, 0, 100, 100), area=np.array([1024.5]))])
    result = metric.compute()
    assert result["map_medium"] == pytest.approx(1.0)
    assert result["map_small"] == result["map_large"] == -1.0
    assert result["mar_medium"] == 1.0
