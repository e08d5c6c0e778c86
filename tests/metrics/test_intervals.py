"""Samples of the images are evaluated exactly, and intervals cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.metrics.make import make_data, random_rows
from yolo_lightning.metrics import evaluate
from yolo_lightning.metrics.bootstrap import ImageBootstrap
from yolo_lightning.metrics.intervals import Interval, precision_intervals
from yolo_lightning.metrics.resampling import FIGURES, resample_precision

A, B = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
PER_CLASS = {
    "average_precision": "map_per_class",
    "average_precision_50": "map_50_per_class",
    "yolov5": "yolov5_map_per_class",
    "yolov5_50": "yolov5_map_50_per_class",
}


def distinct_scores(rows, rng):
    return [(*row[:2], row[2] + rng.random() * 1e-6, *row[3:]) for row in rows]


def draw(rows, counts):
    """The rows of images that are there so many times, each copy an image of its own."""
    firsts = np.cumsum(counts) - counts
    return [(firsts[row[0]] + copy, *row[1:]) for row in rows for copy in range(counts[row[0]])]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 6),
    crowd_share=st.sampled_from([0.0, 0.3]),
    quality=st.sampled_from([0.0, 0.6, 1.0]),
    max_detections=st.sampled_from([0, 3, 30]),
)
@example(3, 2, 0.3, 0.9, 250)  # more than 100 detections of a class in an image
def test_a_sample_is_an_evaluation_of_the_images_drawn(seed, num_images, crowd_share, quality, max_detections):
    detections, targets = random_rows(seed, num_images, 2, 8, max_detections, crowd_share, quality)
    rng = np.random.default_rng(seed)
    detections = distinct_scores(detections, rng)
    data = make_data(detections, targets, 2, num_images)
    counts = np.stack([np.bincount(rng.integers(num_images, size=num_images), minlength=num_images) for _ in range(4)])
    counts = np.concatenate((np.ones((1, num_images), dtype=np.int64), counts))
    samples = resample_precision(data, counts)
    for i, count in enumerate(counts):
        copies = make_data(draw(detections, count), draw(targets, count), 2, num_images)
        result = evaluate(copies)
        for ours, theirs in PER_CLASS.items():
            np.testing.assert_allclose(getattr(samples, ours)[i], result[theirs], atol=1e-12)
        for name in FIGURES if result["num_instances"] else ():
            assert samples.figures[name][i] == pytest.approx(result[name], abs=1e-12)


@pytest.mark.parametrize("block", [1, 150, 1 << 20])
def test_blocks_do_not_matter(block, monkeypatch):
    data = make_data(*random_rows(1, 20), num_images=20)
    counts = np.random.default_rng(0).integers(0, 3, (30, 20))
    whole = resample_precision(data, counts)
    monkeypatch.setattr("yolo_lightning.metrics.resampling._BLOCK", block)
    parts = resample_precision(data, counts)
    np.testing.assert_allclose(parts.yolov5, whole.yolov5, atol=1e-13)
    np.testing.assert_allclose(parts.average_precision, whole.average_precision, atol=1e-13)


def test_an_interval_holds_its_value_and_depends_on_the_seed_alone():
    data = make_data(*random_rows(2, 60), num_images=60)
    result = evaluate(data)
    intervals = precision_intervals(data, num_resamples=200)
    for name in FIGURES:
        interval = intervals[name]
        assert interval.value == pytest.approx(result[name])
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < 0.4
    assert precision_intervals(data, num_resamples=200) == intervals
    assert precision_intervals(data, num_resamples=200, seed=1) != intervals


@pytest.mark.parametrize("num_images", [0, 3])
@pytest.mark.parametrize("with_detections", [False, True])
def test_no_labels(num_images, with_detections):
    detections = [(0, 0, 0.9, *A)] if with_detections and num_images else []
    assert precision_intervals(make_data(detections, [], num_images=num_images)) == dict.fromkeys(FIGURES)


def test_no_detections():
    data = make_data([], [(0, 0, *A), (1, 0, *A)], num_images=3)
    assert set(precision_intervals(data).values()) == {Interval(0.0, 0.0, 0.0)}


def test_one_image():
    data = make_data([(0, 0, 0.9, *A)], [(0, 0, *A), (0, 0, *B)])
    intervals = precision_intervals(data)
    for name, interval in intervals.items():
        assert interval.low == interval.high == interval.value == pytest.approx(evaluate(data)[name])


def simulate(rng, num_images):
    """Images of one class: objects found with luck that differs between images, and false alarms."""
    detections, targets = [], []
    for image in range(num_images):
        luck = rng.beta(3, 2)
        for place in range(rng.integers(1, 5)):
            box = (100.0 * place, 0.0, 100.0 * place + 50, 50.0)
            targets.append((image, 0, *box))
            if rng.random() < luck:
                offset = rng.uniform(0, 15)
                detections.append((image, 0, rng.beta(4, 2), box[0] + offset, 0.0, box[2] + offset, 50.0))
        for _ in range(rng.poisson(1.5 * (1 - luck))):
            detections.append((image, 0, rng.beta(2, 3), 0.0, 500.0, 50.0, 550.0))
    return make_data(detections, targets, 1, num_images)


def test_coverage():
    """95 % intervals hold what as many other images give in the mean, about 19 times of 20."""
    rng = np.random.default_rng(0)
    num_trials = 150
    trials = [precision_intervals(simulate(rng, 60), num_resamples=200, seed=trial) for trial in range(num_trials)]
    others = [resample_precision(simulate(rng, 60), np.ones((1, 60), dtype=np.int64)).figures for _ in range(400)]
    for name in FIGURES:
        truth = np.mean([figures[name][0] for figures in others])
        held = np.mean([trial[name].low <= truth <= trial[name].high for trial in trials])
        print(f"{name}: {held:.3f}")
        assert 0.89 <= held <= 0.99


def test_a_poor_model_of_many_classes_lies_in_its_interval():
    """Its samples all lie above it."""
    data = make_data(*random_rows(0, 300, 40, 8, 8), num_classes=40, num_images=300)
    value = resample_precision(data, np.ones((1, 300), dtype=np.int64)).figures["map"][0]
    samples = resample_precision(data, ImageBootstrap(300, 100).counts).figures["map"]
    assert np.mean(samples > value) > 0.9
    interval = precision_intervals(data, num_resamples=100)["map"]
    assert interval.low < value < interval.high
