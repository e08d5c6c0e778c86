"""What differs from the network is told, and what only rounding decides is not held against a file."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.export.comparing import Difference, Tolerance, compare_detections, compare_rows
from yolo_lightning.runtimes.contract import Suppression

SUPPRESSION = Suppression(0.25, 0.5, 3)
TOLERANCE = Tolerance(0.5, 0.005)
# centre x, centre y, width, height, score, class
A = (50.0, 50.0, 40.0, 40.0, 0.8, 0)
NEAR_A = (60.0, 50.0, 40.0, 40.0, 0.8, 0)  # IoU .6
HALF_A = (50.0 + 40 / 3, 50.0, 40.0, 40.0, 0.7, 0)  # IoU .5, the threshold
OTHER_CLASS = (52.0, 50.0, 40.0, 40.0, 0.6, 1)
FAR = (200.0, 50.0, 30.0, 30.0, 0.5, 0)
FAINT = (300.0, 50.0, 30.0, 30.0, 0.2501, 1)
BACKGROUND = (400.0, 50.0, 30.0, 30.0, 0.1, 1)


def rows(*boxes: tuple[float, ...], as_detections: bool = True) -> Tensor:
    """(1, n, 5 + 2); of the network, objectness is not 1 and the other class has a little."""
    made = torch.zeros(1, len(boxes), 7)
    for row, (*box, score, label) in zip(made[0], boxes, strict=True):
        row[:4], row[4] = torch.tensor(box), 1 if as_detections else 0.9
        row[5:] = 0 if as_detections else 0.01
        row[5 + int(label)] = score / row[4]
    return made


def compare(found: list[tuple[float, ...]], network: list[tuple[float, ...]]) -> Difference:
    return compare_detections(rows(*found), rows(*network, as_detections=False), SUPPRESSION, TOLERANCE)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ([BACKGROUND], []),
        ([A, FAR, BACKGROUND], [A, FAR]),
        ([A, OTHER_CLASS], [A, OTHER_CLASS]),
        # equal scores: one suppresses the other, either way
        ([A, NEAR_A], [A]),
        ([A, NEAR_A], [NEAR_A]),
        # overlap by just the threshold
        ([A, HALF_A], [A]),
        ([A, HALF_A], [A, HALF_A]),
        # just above the confidence threshold
        ([A, FAINT], [A]),
        ([A, FAINT], [A, FAINT]),
        # no more than three
        ([A, OTHER_CLASS, FAR, FAINT], [A, OTHER_CLASS, FAR]),
    ],
)
def test_choices_that_suppression_may_make(network, found):
    difference = compare(found, network)
    assert difference.compared == len(found)
    assert difference.is_within(Tolerance(1e-4, 1e-6))


@pytest.mark.parametrize(
    ("network", "found", "message"),
    [
        ([A, FAR], [A], "misses an object of class 0 that the network finds with score 0.5"),
        ([A, OTHER_CLASS], [A], "misses an object of class 1"),
        ([A], [], "misses"),
        ([A, NEAR_A], [A, NEAR_A], "overlap by more than 0.5"),
        ([A], [A, A], "overlap"),
        ([A, FAR], [FAR, A], "order"),
        ([A, BACKGROUND], [A, BACKGROUND], "scores down to 0.1"),
        ([A, OTHER_CLASS, FAR, FAINT], [A, OTHER_CLASS, FAR, FAINT], "4 objects, more than 3"),
    ],
)
def test_choices_that_it_may_not_make(network, found, message):
    with pytest.raises(InputError, match=message):
        compare(found, network)


@pytest.mark.parametrize(
    ("changed", "box", "score"),
    [
        ((53.0, 50.0, 40.0, 40.0, 0.8, 0), 3, 0),
        ((50.0, 50.0, 40.0, 44.0, 0.8, 0), 2, 0),
        ((50.0, 50.0, 40.0, 40.0, 0.7, 0), 0, 0.1),
        ((50.0, 50.0, 40.0, 40.0, 0.8, 1), 0, 0.791),  # the other class
    ],
)
def test_boxes_and_scores_that_are_not_the_networks(changed, box, score):
    difference = compare([changed], [A, BACKGROUND])
    assert not difference.is_within(TOLERANCE)
    assert difference.box == pytest.approx(box, abs=1e-4)
    assert difference.score == pytest.approx(score, abs=1e-4)


def test_each_image_has_its_own():
    found = torch.cat((rows(A), rows(FAR)))
    network = torch.cat((rows(A, FAR, as_detections=False), rows(A, FAR, as_detections=False)))
    with pytest.raises(InputError, match="misses"):
        compare_detections(found, network, SUPPRESSION, TOLERANCE)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none(value):
    found = rows(A, FAR)
    found[0, 1, 2] = value
    with pytest.raises(InputError, match="not finite"):
        compare_rows(found, rows(A, FAR))
    with pytest.raises(InputError, match="not finite"):
        compare_detections(found, rows(A, FAR), SUPPRESSION, TOLERANCE)
    assert not Difference(1, math.nan, 0).is_within(TOLERANCE)


def test_rows():
    difference = compare_rows(rows(A, FAR), rows(A, (201.0, 50.0, 32.0, 30.0, 0.4, 0)))
    assert (difference.compared, difference.box) == (2, 2)
    assert difference.score == pytest.approx(0.1)
