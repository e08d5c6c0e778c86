"""Each error has one kind, and mending a kind gains what TIDE says."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.make import make_data, random_rows
from yolo_lightning.metrics.coco import coco_metrics
from yolo_lightning.metrics.errors import ERROR_KINDS, split_errors
from yolo_lightning.metrics.matching import candidate_pairs

A, B = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
FAR = (200.0, 200.0, 210.0, 210.0)
HALF_A = (0.0, 0.0, 10.0, 4.0)  # IoU .4 with A


def kinds_of(split):
    names = {-1: "right", -2: "no part", **dict(enumerate(ERROR_KINDS))}
    return [names[kind] for kind in split.kinds.tolist()]


@pytest.mark.parametrize(
    ("detections", "kinds", "targets", "ious", "missed"),
    [
        ([(0, 0, 0.9, *A)], ["right"], [0], [1], [0, 1]),
        ([(0, 2, 0.9, *A)], ["classification"], [0], [1], [0, 1]),
        ([(0, 0, 0.9, *HALF_A)], ["localisation"], [0], [0.4], [0, 1]),
        ([(0, 2, 0.9, *HALF_A)], ["both"], [0], [0.4], [1, 1]),
        ([(0, 0, 0.9, *A), (0, 0, 0.8, *A)], ["right", "duplicate"], [0, 0], [1, 1], [0, 1]),
        ([(0, 0, 0.9, *FAR)], ["background"], [-1], [0], [1, 1]),
        ([], [], [], [], [1, 1]),
        # A bad box of a label that is found, and a wrong class at one that is.
        ([(0, 0, 0.9, *A), (0, 0, 0.8, *HALF_A)], ["right", "localisation"], [0, 0], [1, 0.4], [0, 1]),
        ([(0, 0, 0.9, *A), (0, 1, 0.8, *A)], ["right", "classification"], [0, 0], [1, 1], [0, 1]),
    ],
)
def test_each_kind(detections, kinds, targets, ious, missed):
    split = split_errors(make_data(detections, [(0, 0, *A), (0, 1, *B)]))
    assert kinds_of(split) == kinds
    assert split.targets.tolist() == targets
    assert split.ious.tolist() == pytest.approx(ious)
    assert split.missed.tolist() == [bool(value) for value in missed]
    assert split.kinds.dtype == split.targets.dtype == np.int64


HALF, TENTH, BESIDE = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 1.0), (0.0, 5.0, 10.0, 15.0)  # IoU with A: .5, .1, 1/3
CATS_AND_DOG = [(0, 0, *A), (0, 1, *B)]


# Kinds, missed labels and costs in per cent as tidecv 1.0.1 gives them.
@pytest.mark.parametrize(
    ("detections", "targets", "kinds", "missed", "costs"),
    [
        ([(0, 0, 0.9, *HALF)], CATS_AND_DOG, ["right"], [1], {"missed": 50, "false_negative": 50}),
        (
            [(0, 0, 0.9, *A), (0, 0, 0.8, *HALF)],
            CATS_AND_DOG,
            ["right", "localisation"],
            [1],
            {"missed": 50, "false_negative": 50},
        ),
        ([(0, 0, 0.9, *TENTH)], CATS_AND_DOG, ["localisation"], [1], {"localisation": 50}),
        ([(0, 1, 0.9, *HALF)], CATS_AND_DOG, ["classification"], [1], {"classification": 50}),
        ([(0, 1, 0.9, *TENTH)], CATS_AND_DOG, ["background"], [0, 1], {}),
        # At a cat, and a little on a dog: the dog's box is bad.
        ([(0, 1, 0.9, *A)], [(0, 0, *A), (0, 1, *BESIDE)], ["localisation"], [0], {"localisation": 50}),
        # At a dog that is found, and at a cat: the cat's class is wrong.
        (
            [(0, 1, 0.95, *A), (0, 1, 0.9, *A)],
            [(0, 0, *A), (0, 1, *A)],
            ["right", "classification"],
            [],
            {"classification": 50, "false_negative": 50},
        ),
        # At a cat that is found, and beside one that is not: that stays missed.
        (
            [(0, 0, 0.95, *A), (0, 0, 0.9, *A)],
            [(0, 0, *A), (0, 0, *BESIDE)],
            ["right", "duplicate"],
            [1],
            {"missed": 49.505, "false_negative": 49.505},
        ),
        # Two errors of different kinds at a label: only the more confident can be mended.
        (
            [(0, 0, 0.9, *HALF_A), (0, 1, 0.8, *A)],
            CATS_AND_DOG,
            ["localisation", "classification"],
            [1],
            {"localisation": 50},
        ),
        (
            [(0, 1, 0.9, *A), (0, 0, 0.8, *HALF_A)],
            CATS_AND_DOG,
            ["classification", "localisation"],
            [1],
            {"classification": 50},
        ),
        # An error at a label that is found later is removed.
        ([(0, 1, 0.9, *A), (0, 0, 0.5, *A)], CATS_AND_DOG, ["classification", "right"], [1], {}),
        # Without labels left a class is left out, unless something wrong was detected.
        ([(0, 0, 0.9, *A)], CATS_AND_DOG, ["right"], [1], {"missed": 50, "false_negative": 50}),
        ([(0, 0, 0.9, *A), (0, 1, 0.8, *FAR)], CATS_AND_DOG, ["right", "background"], [1], {}),
        # All kinds at once.
        (
            [
                (0, 0, 0.9, *FAR),
                (0, 0, 0.8, *A),
                (0, 0, 0.7, *A),
                (0, 1, 0.6, 50, 50, 60, 54),
                (0, 0, 0.5, 80, 0, 90, 10),
                (0, 1, 0.4, 80, 30, 90, 34),
            ],
            [(0, 0, *A), (0, 1, *B), (0, 1, 80, 0, 90, 10), (0, 0, 80, 30, 90, 40)],
            ["background", "right", "duplicate", "localisation", "classification", "both"],
            [3],
            {
                "classification": 12.62376,
                "localisation": 25.24752,
                "background": 12.62376,
                "missed": 12.37624,
                "false_positive": 12.62376,
                "false_negative": 12.37624,
            },
        ),
    ],
)
def test_the_split_is_that_of_tide(detections, targets, kinds, missed, costs):
    split = split_errors(make_data(detections, targets, num_classes=2))
    assert kinds_of(split) == kinds
    assert np.flatnonzero(split.missed).tolist() == missed
    per_cent = {kind: 100 * cost for kind, cost in split.costs.items()}
    assert per_cent == pytest.approx(dict.fromkeys(split.costs, 0) | costs, abs=1e-3)


def test_what_is_coco_s_and_not_tide_s():
    """A class without labels is no part of the mean; 100 detections of each class play a part."""
    split = split_errors(make_data([(0, 0, 0.9, *A), (0, 1, 0.8, *FAR)], [(0, 0, *A)]))
    assert split.counts["background"] == 1
    assert (split.map_50, split.costs["background"]) == pytest.approx((1, 0))
    detections = [(0, label, 0.5, *FAR) for label in (0, 1) for _ in range(101)]
    assert split_errors(make_data(detections, [(0, 0, *A), (0, 1, *A)])).counts["background"] == 200


def test_crowds_and_the_hundredth_detection_play_no_part():
    detections = [(0, 0, 0.9, *B), *((0, 1, 0.8, *FAR) for _ in range(103))]
    split = split_errors(make_data(detections, [(0, 0, *A), (0, 0, 40.0, 40.0, 90.0, 90.0, 1)]))
    assert kinds_of(split) == ["no part", *["background"] * 100, *["no part"] * 3]
    assert split.missed.tolist() == [True, False]
    assert split.counts == dict.fromkeys(ERROR_KINDS, 0) | {"background": 100, "missed": 1}


ONLY = {
    "classification": [(0, 1, 0.9, *A), (0, 1, 0.8, *B)],
    "localisation": [(0, 0, 0.9, *HALF_A), (0, 1, 0.8, *B)],
    "duplicate": [(0, 0, 0.9, *A), (0, 0, 0.85, *A), (1, 0, 0.8, *A), (0, 1, 0.7, *B)],
    "background": [(0, 0, 0.9, *A), (0, 0, 0.85, *FAR), (1, 0, 0.8, *A), (0, 1, 0.7, *B)],
    "missed": [(0, 1, 0.7, *B)],
}


@pytest.mark.parametrize("kind", ONLY)
def test_all_errors_of_one_kind_cost_all_that_is_lost(kind):
    targets = [(0, 0, *A), (0, 1, *B), *([(1, 0, *A)] if kind in ("duplicate", "background") else [])]
    split = split_errors(make_data(ONLY[kind], targets, num_images=2))
    assert split.map_50 < 0.95
    assert split.costs[kind] == pytest.approx(1 - split.map_50)
    others = set(ERROR_KINDS) - {kind}
    assert {split.costs[name] for name in others} == {0}
    assert all(split.counts[name] == 0 for name in others)
    total = "false_negative" if kind == "missed" else "false_positive"
    assert split.costs[total] >= split.costs[kind] * (kind not in ("classification", "localisation"))


def test_costs_by_hand():
    """One class, two labels: a wrong detection first, one found label, one missed."""
    split = split_errors(make_data([(0, 0, 0.9, *FAR), (0, 0, 0.8, *A)], [(0, 0, *A), (0, 0, *B)]))
    half = 51 / 101  # recalls 0….5 of 101
    assert split.map_50 == pytest.approx(half / 2)
    assert split.costs["background"] == split.costs["false_positive"] == pytest.approx(half / 2)
    assert split.costs["missed"] == split.costs["false_negative"] == pytest.approx(0.5 - half / 2)


def test_a_mended_detection_takes_only_a_label_that_nothing_found():
    """B at .9 could become A, but A at .3 found the label: B is removed."""
    detections = [(0, 1, 0.9, *A), (0, 0, 0.5, *FAR), (0, 0, 0.3, *A)]
    split = split_errors(make_data(detections, [(0, 0, *A)]))
    assert split.map_50 == pytest.approx(0.5)
    assert split.costs["classification"] == 0
    unfound = split_errors(make_data(detections[:2], [(0, 0, *A)]))
    assert unfound.costs["classification"] == pytest.approx(1)


def test_a_class_without_labels_left():
    """What was never found costs all if nothing was detected instead, and else nothing."""
    assert split_errors(make_data([], [(0, 0, *A)])).costs["missed"] == 1
    assert split_errors(make_data([(0, 0, 0.9, *FAR)], [(0, 0, *A)])).costs["missed"] == 0


@pytest.mark.parametrize("detections", [[], [(0, 0, 0.9, *A)]])
def test_no_labels(detections):
    split = split_errors(make_data(detections, []))
    assert split.map_50 == 0
    assert set(split.costs.values()) == {0}
    assert kinds_of(split) == ["background"] * len(detections)


@pytest.mark.parametrize("ious", [(0.5, 0.0), (0.5, 0.6), (1.1, 0.1)])
def test_thresholds_out_of_range(ious):
    with pytest.raises(ValueError, match="background_iou"):
        split_errors(make_data([], []), foreground_iou=ious[0], background_iou=ious[1])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crowd_share=st.sampled_from([0.0, 0.3]), foreground=st.sampled_from([0.5, 0.75]))
def test_laws(seed, crowd_share, foreground):
    detections, targets = random_rows(seed, crowd_share=crowd_share)
    data = make_data(detections, targets, num_images=4)
    split = split_errors(data, foreground_iou=foreground)
    assert min(split.costs.values()) >= -1e-12
    assert max(split.costs.values()) <= 1 - split.map_50 + 1e-12
    assert sum(split.counts[kind] for kind in ERROR_KINDS[:5]) + (split.kinds < 0).sum() == len(data.scores)
    assert split.costs["false_positive"] >= max(split.costs[kind] for kind in ERROR_KINDS[2:5]) - 1e-12
    assert split.costs["false_negative"] >= split.costs["missed"] - 1e-12
    reference = coco_metrics(data, candidate_pairs(data, 0.5))["map_50" if foreground == 0.5 else "map_75"]
    assert split.map_50 == max(reference, 0)
    # A label that counts is found once, explained, or missed.
    right = split.kinds == -1
    assert len(np.unique(split.targets[right])) == right.sum()
    explained = np.isin(split.kinds, [0, 1]) | right
    accounted = np.union1d(split.targets[explained], np.flatnonzero(split.missed))
    np.testing.assert_array_equal(accounted, np.flatnonzero(~data.target_crowd))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_images_does_not_matter(seed):
    detections, targets = random_rows(seed)
    rng = np.random.default_rng(seed)
    detections = [(*row[:2], row[2] + rng.random() * 1e-6, *row[3:]) for row in detections]  # no ties
    place = rng.permutation(4)
    split, other = (
        split_errors(
            make_data(*([(order[row[0]], *row[1:]) for row in rows] for rows in (detections, targets)), num_images=4)
        )
        for order in (np.arange(4), place)
    )
    assert split.costs == pytest.approx(other.costs)
    assert split.counts == other.counts
    assert split.map_50 == pytest.approx(other.map_50)


@pytest.mark.slow
def test_coco_size_in_seconds():
    data = make_data(*random_rows(0, 5000, 80, 14, 14), num_classes=80, num_images=5000)
    start = time.perf_counter()
    split_errors(data)
    assert time.perf_counter() - start < 4
