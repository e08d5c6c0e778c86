"""Thresholds of toy cases that are counted by hand, and what the intervals promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from yolo_lightning.metrics import DetectionMetrics, operating_point_table, table_text
from yolo_lightning.metrics.bootstrap import ImageBootstrap, share_interval
from yolo_lightning.metrics.matching import EvaluationData
from yolo_lightning.metrics.operating_point import choose_operating_point
from yolo_lightning.operating_point import Target

#          right right wrong right wrong wrong right, and one label that is not found
SEQUENCE = [(0.9, 1), (0.8, 1), (0.7, 0), (0.6, 1), (0.5, 0), (0.4, 0), (0.3, 1)]


def evaluation(*classes, num_images=2, missed=1):
    """The detections of each class, (score, whether right), over the images in turn; all right ones have a label."""
    rows = [(label, *row) for label, rows in enumerate(classes) for row in rows]
    detections = [{"boxes": [], "scores": [], "labels": []} for _ in range(num_images)]
    targets = [{"boxes": [], "labels": []} for _ in range(num_images)]
    for i, (label, score, right) in enumerate(rows):
        image = i % num_images
        detections[image]["boxes"].append([i * 20.0, 0.0, i * 20.0 + 10, 10.0])
        detections[image]["scores"].append(score)
        detections[image]["labels"].append(label)
        if right:
            targets[image]["boxes"].append(detections[image]["boxes"][-1])
            targets[image]["labels"].append(label)
    for label in range(len(classes)):
        for i in range(missed):
            targets[0]["boxes"].append([i * 20.0, 500.0, i * 20.0 + 10, 510.0])
            targets[0]["labels"].append(label)
    metric = DetectionMetrics([str(label) for label in range(len(classes))])
    arrays = [{key: np.array(value, dtype=np.float32) for key, value in item.items()} for item in detections]
    metric.update(arrays, [{key: np.array(value, dtype=np.float32) for key, value in item.items()} for item in targets])
    return metric.evaluation_data()


def choose(data, target, **options):
    names = [f"class {label}" for label in range(data.num_classes)]
    return choose_operating_point(data, names, target, **{"min_labels": 1, "num_resamples": 200, **options})


def just_below(score):
    return pytest.approx(float(np.nextafter(np.float32(score), np.float32(0))), rel=1e-7)


def shown(chosen):
    measured = chosen.measured
    return measured.precision, measured.recall, measured.num_detections, measured.num_labels


@pytest.mark.parametrize(
    ("target", "score", "expected", "reached"),
    [
        (Target("precision", 1.0), 0.8, (1, 2 / 5, 2, 5), True),
        (Target("precision", 0.8), 0.8, (1, 2 / 5, 2, 5), True),
        (Target("precision", 0.75), 0.6, (3 / 4, 3 / 5, 4, 5), True),
        (Target("precision", 4 / 7), 0.3, (4 / 7, 4 / 5, 7, 5), True),
        (Target("recall", 0.2), 0.9, (1, 1 / 5, 1, 5), True),
        (Target("recall", 0.6), 0.6, (3 / 4, 3 / 5, 4, 5), True),
        (Target("recall", 0.7), 0.3, (4 / 7, 4 / 5, 7, 5), True),
        (Target("recall", 0.9), 0.3, (4 / 7, 4 / 5, 7, 5), False),
        (Target("f_beta", 1.0), 0.6, (3 / 4, 3 / 5, 4, 5), True),  # as high at .3: the higher threshold
        (Target("f_beta", 2.0), 0.3, (4 / 7, 4 / 5, 7, 5), True),
        (Target("f_beta", 0.5), 0.8, (1, 2 / 5, 2, 5), True),
    ],
)
def test_thresholds_counted_by_hand(target, score, expected, reached):
    point = choose(evaluation(SEQUENCE), target)
    (chosen,) = point.classes
    assert (chosen.threshold, chosen.reached, chosen.pooled) == (just_below(score), reached, False)
    assert chosen.threshold < np.float32(score)
    assert shown(chosen) == pytest.approx(expected)
    assert dataclasses.replace(point.pooled, name=chosen.name) == chosen
    assert point.overall == chosen.measured


def test_the_closest_is_taken_where_a_precision_cannot_be_reached():
    (chosen,) = choose(evaluation([(0.9, 0), (0.8, 1), (0.7, 1), (0.6, 0)]), Target("precision", 0.9)).classes
    assert (chosen.threshold, chosen.reached) == (just_below(0.7), False)
    assert shown(chosen) == pytest.approx((2 / 3, 2 / 3, 3, 3))


def test_equal_scores_are_let_through_together():
    tied = evaluation([(0.9, 1), (0.5, 0), (0.5, 1), (0.5, 1), (0.4, 0)])
    assert shown(choose(tied, Target("precision", 0.75)).classes[0]) == pytest.approx((3 / 4, 3 / 4, 4, 4))
    assert shown(choose(tied, Target("precision", 0.8)).classes[0]) == pytest.approx((1, 1 / 4, 1, 4))


@pytest.mark.parametrize(("data", "num_labels"), [
    (evaluation([], missed=0), 0),
    (evaluation([]), 1),
    (evaluation([(0.9, 0), (0.8, 0)], missed=0), 0),
    (evaluation([(0.9, 0), (0.8, 0)], [], missed=3), 6),
])  # fmt: skip
def test_nothing_found_is_nothing_to_choose_from(data, num_labels):
    with pytest.raises(ValueError, match=f"none of the {num_labels} labels on 2 images was found"):
        choose(data, Target("precision", 0.5))


def test_no_image_at_all():
    empty = DetectionMetrics(["a"]).evaluation_data()
    with pytest.raises(ValueError, match="none of the 0 labels on 0 images"):
        choose(empty, Target("recall", 0.5))


def test_classes_that_tell_too_little_use_the_threshold_of_all():
    few, undetected, unlabelled = [(0.95, 1), (0.2, 0)], [], [(0.85, 0), (0.1, 0)]
    data = evaluation(SEQUENCE, few, undetected, unlabelled, missed=0)
    point = choose(data, Target("precision", 0.75), min_labels=3)
    # together: right at .95, .9 and .8, wrong at .85 and .7, right at .6
    assert point.pooled.threshold == just_below(0.8)
    assert shown(point.pooled) == pytest.approx((3 / 4, 3 / 5, 4, 5))
    own, *others = point.classes
    assert (own.threshold, own.pooled) == (just_below(0.6), False)
    for chosen in others:
        assert (chosen.threshold, chosen.pooled, chosen.threshold_interval) == (point.pooled.threshold, True, None)
    assert [chosen.reached for chosen in others] == [True, False, False]
    assert [shown(chosen) for chosen in others] == [(1.0, 1.0, 1, 1), (None, None, 0, 0), (0.0, None, 1, 0)]
    # at the thresholds of their own: .9 .8 .7 .6, .95, and .85
    assert (point.overall.num_detections, point.overall.precision, point.overall.recall) == (6, 4 / 6, 4 / 5)


def test_the_table_says_what_became_of_each_class():
    long_name = "x" * 60
    data = evaluation(SEQUENCE, [(0.95, 1), (0.2, 0)], [], [(0.85, 0)], [(0.4, 0)] * 3 + [(0.1, 1)])
    names = ["apple", "pear", "fig", "plum", long_name]
    point = choose_operating_point(data, names, Target("precision", 0.75), min_labels=2, num_resamples=100)
    lines = table_text(operating_point_table(point)).splitlines()
    assert lines[0] == "Operating point on val: precision of at least 0.75"
    rows = {line.split()[0]: line for line in lines[3:]}
    assert rows["apple"].split()[:3] == ["apple", "5", "0.600"]
    assert rows["pear"].split()[1] == "2"
    assert rows["fig"].endswith("pooled, missed")
    assert rows["x" * 17 + "…"].endswith("missed")
    assert "pooled: fewer than 2 labels" in lines[-2]
    assert lines[-1].startswith("missed:")
    assert max(map(len, lines)) <= 100
    assert all("…" not in line for name, line in rows.items() if "x" not in name)


def test_classes_without_labels_are_not_tabulated():
    point = choose(evaluation(SEQUENCE, [], missed=0), Target("precision", 0.75))
    lines = table_text(operating_point_table(point)).splitlines()
    assert not any(line.startswith("  class 1") for line in lines)
    assert " ".join(lines).endswith(
        "1 of 2 classes have no labels; their threshold is that of all classes together, 0.600"
    )


def test_a_lucky_detection_is_seen_through_if_wanted():
    lucky = [(0.99, 1)] + [(0.98, 0)] * 3 + [(0.9 - i / 1000, 1) for i in range(50)] + [(0.1, 0)] * 50
    data = evaluation(lucky, num_images=11)
    (chosen,) = choose(data, Target("precision", 0.95)).classes
    assert (chosen.reached, chosen.measured.num_detections, chosen.measured.precision) == (True, 1, 1.0)
    assert chosen.measured.precision_interval[0] < 0.3
    (careful,) = choose(data, Target("precision", 0.95, conservative=True)).classes
    assert (careful.reached, careful.measured.num_detections) == (False, 54)
    (careful,) = choose(data, Target("precision", 0.8, conservative=True)).classes
    assert careful.reached
    assert careful.measured.precision_interval[0] >= 0.8
    (careful,) = choose(data, Target("recall", 0.5, conservative=True)).classes
    assert careful.reached
    assert careful.measured.recall_interval[0] >= 0.5
    assert careful.measured.recall > choose(data, Target("recall", 0.5)).classes[0].measured.recall


@pytest.mark.parametrize(("iou_threshold", "num_right"), [(0.3, 3), (0.5, 2), (0.62, 1), (0.9, 1)])
def test_the_overlap_that_counts(iou_threshold, num_right):
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], dtype=np.float32)
    shorter = boxes - np.array([0, 0, 0, 1], dtype=np.float32) * np.array([[0], [4], [6]], dtype=np.float32)
    metric = DetectionMetrics(["a"])
    detected = {"boxes": shorter, "scores": np.array([0.9, 0.8, 0.7]), "labels": np.zeros(3)}
    metric.update([detected], [{"boxes": boxes, "labels": np.zeros(3)}])
    target = Target("recall", num_right / 3)
    (chosen,) = choose(metric.evaluation_data(), target, iou_threshold=iou_threshold).classes
    assert chosen.reached
    assert chosen.measured.num_detections == num_right


def test_matches_are_those_of_the_precision_and_recall_reported(golden):
    with np.load(golden / "metrics.npz", allow_pickle=False) as file:
        arrays = dict(file)
    metric = DetectionMetrics(list("abcd"))
    for i in range(40):
        rows, labels = arrays[f"det_{i}"].reshape(-1, 6), arrays[f"gt_{i}"].reshape(-1, 5)
        found = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5]}
        metric.update([found], [{"boxes": labels[:, 1:], "labels": labels[:, 0]}])
    data, result = metric.evaluation_data(), metric.compute()
    for label, chosen in enumerate(choose(data, Target("f_beta", 1.0)).classes):
        at_threshold = np.interp(chosen.threshold, result["curve_points"], result["recall_curve"][label])
        assert chosen.measured.recall == pytest.approx(at_threshold, abs=0.03)
        # Interpolated curves cannot pass above the steps by much, nor their best point lie far from ours.
        measured = chosen.measured
        f1 = 2 * measured.precision * measured.recall / (measured.precision + measured.recall)
        assert f1 == pytest.approx(result["f1_curve"][label].max(), abs=0.03)


def test_seeds_decide():
    data = evaluation([(0.9 - i / 100, i % 3 > 0) for i in range(60)], num_images=9)
    target = Target("precision", 0.65)
    first, again, other = (choose(data, target, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert dataclasses.replace(other, evaluation=first.evaluation) != first
    assert other.classes[0].threshold == first.classes[0].threshold


def test_sums_are_those_of_the_images_drawn():
    bootstrap = ImageBootstrap(7, 150, seed=3)
    generator = np.random.default_rng(0)
    rows, images = generator.integers(4, size=50), generator.integers(7, size=50)
    each = bootstrap.sums(np.arange(7), np.arange(7), 7)
    assert (each.sum(axis=0) == 7).all()
    events = np.zeros((4, 7))
    np.add.at(events, (rows, images), 1)
    np.testing.assert_array_equal(bootstrap.sums(rows, images, 4), events @ each)
    assert not bootstrap.sums(rows[:0], images[:0], 2).any()


def test_an_interval_without_trials_is_everything():
    low, high = share_interval(np.zeros(1, int), np.zeros(1, int), np.zeros((1, 9)), np.zeros((1, 9)))
    assert (low.tolist(), high.tolist()) == ([0.0], [1.0])


def simulated(seed, num_images=60, fixed=False):
    """Images of which some are hard: a share of .75 of the detections is right, in clusters."""
    generator = np.random.default_rng(seed)
    image = np.repeat(np.arange(num_images), generator.poisson(5, num_images))
    right = generator.random(len(image)) < generator.beta(3, 1, num_images)[image]
    scores = np.where(right, generator.uniform(0.3, 1, len(image)), generator.uniform(0, 0.7, len(image)))
    if fixed:
        scores[:] = 0.5
    order = np.lexsort((-scores, image))
    right, image = right[order], image[order]
    left = np.arange(len(image)) * 20.0
    targets = np.stack((left, np.zeros_like(left), left + 10, np.full_like(left, 10.0)), axis=1)[right]
    boxes = np.stack((left, np.where(right, 0.0, 99.0), left + 10, np.where(right, 10.0, 109.0)), axis=1)
    num_labels = int(right.sum())
    return EvaluationData(
        num_classes=1,
        num_images=num_images,
        boxes=boxes,
        scores=scores[order].astype(np.float32).astype(np.float64),
        labels=np.zeros(len(image), dtype=np.int64),
        image_index=image,
        target_boxes=targets,
        target_labels=np.zeros(num_labels, dtype=np.int64),
        target_image_index=image[right],
        target_crowd=np.zeros(num_labels, dtype=np.bool_),
        target_areas=np.full(num_labels, 100.0),
    )


def true_precision(threshold):
    """Of the simulation."""
    right, wrong = 0.75 * (1 - max(threshold, 0.3)) / 0.7, 0.25 * (0.7 - min(threshold, 0.7)) / 0.7
    return right / (right + wrong)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        (chosen,) = choose(simulated(seed, fixed=True), Target("precision", 0.5)).classes
        low, high = chosen.measured.precision_interval
        covered += low <= 0.75 <= high
    assert 0.91 <= covered / 200 <= 0.99


def test_intervals_hold_for_thresholds_that_were_chosen():
    true_threshold, thresholds, precisions, kept = 0.55, 0, 0, 0
    assert true_precision(true_threshold) == pytest.approx(0.9)
    for seed in range(100):
        data = simulated(seed)
        (chosen,) = choose(data, Target("precision", 0.9)).classes
        low, high = chosen.threshold_interval
        thresholds += low <= true_threshold <= high
        low, high = chosen.measured.precision_interval
        precisions += low <= true_precision(chosen.threshold) <= high
        (careful,) = choose(data, Target("precision", 0.9, conservative=True)).classes
        kept += true_precision(careful.threshold) >= 0.9
    assert thresholds >= 85
    assert precisions >= 89
    assert kept >= 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_threshold": 0.0}, "iou_threshold is 0.0; it must be above 0 and at most 1"),
        ({"iou_threshold": 1.1}, "iou_threshold is 1.1"),
        ({"min_labels": -1}, "min_labels is -1; it must be at least 0"),
        ({"num_resamples": 10}, "num_resamples is 10; it must be at least 100"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose(evaluation(SEQUENCE), Target("precision", 0.5), **options)


def test_names_must_fit():
    with pytest.raises(ValueError, match="2 class names for 1 classes"):
        choose_operating_point(evaluation(SEQUENCE), ["a", "b"], Target("precision", 0.5))
