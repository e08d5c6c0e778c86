"""How far the answers of an exported file are from those of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.contract import Suppression

__all__ = ["Difference", "Tolerance", "compare_detections", "compare_rows", "scores_of"]

_ROUNDING = 0.05
"""Pixels, of corners on which suppression does arithmetic in float32."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported file may be from the network.

    Args:
        box: Pixels, of the corners of boxes.
        score: Of scores.
    """

    box: float
    score: float


@dataclass(frozen=True)
class Difference:
    """How far an exported file is from the network.

    Args:
        compared: Boxes compared.
        box: Largest difference of a corner in pixels.
        score: Largest difference of a score.
    """

    compared: int
    box: float
    score: float

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether it is no larger; what is no number is."""
        return self.box <= tolerance.box and self.score <= tolerance.score


def compare_rows(found_BNK: Tensor, wanted_BNK: Tensor) -> Difference:
    """Compares rows one by one.

    Raises:
        InputError: If some are not finite.
    """
    _check_finite(found_BNK)
    boxes = (_corners(found_BNK) - _corners(wanted_BNK)).abs().max()
    scores = (scores_of(found_BNK) - scores_of(wanted_BNK)).abs().max()
    return Difference(wanted_BNK.shape[0] * wanted_BNK.shape[1], float(boxes), float(scores))


def compare_detections(
    found_BMK: Tensor, rows_BNK: Tensor, suppression: Suppression, tolerance: Tolerance
) -> Difference:
    """Compares what suppression in a file left over with the boxes that the network has to choose from.

    The detections of the network itself would not do: where two boxes score alike, or overlap by just the threshold, a
    rounding decides which of them is left. So it is asked whether each detection is a box of the network, and whether
    these are boxes that suppression may leave over.

    Args:
        found_BMK: Detections as rows; those with objectness 0 are none.
        rows_BNK: All rows of the network that may be above the confidence threshold.
        suppression: That of the file.
        tolerance: What counts as alike.

    Raises:
        InputError: If other boxes are left over than suppression may leave, though each is within the tolerance.
    """
    _check_finite(found_BMK)
    images = [_Image(found[found[:, 4] > 0], rows) for found, rows in zip(found_BMK, rows_BNK, strict=True)]
    difference = Difference(
        sum(len(image.scores) for image in images),
        max(image.box for image in images),
        max(image.score for image in images),
    )
    if difference.is_within(tolerance) and math.isfinite(tolerance.box):
        for image in images:
            image.check_choice(suppression, tolerance)
    return difference


class _Image:
    """Detections of an image, each with the row of the network that is most like it."""

    def __init__(self, found_MK: Tensor, rows_NK: Tensor) -> None:
        self.boxes, self.rows = _corners(found_MK), _corners(rows_NK)
        self.scores, self.labels = scores_of(found_MK).max(-1)
        self.row_scores = scores_of(rows_NK)
        self.best = self.row_scores.amax(-1)
        self.box = self.score = 0.0
        if len(self.boxes):
            box = (self.boxes[:, None] - self.rows).abs().amax(-1)
            # Of its class; and that must be the row's best one.
            score = (self.scores[:, None] - self.row_scores.T[self.labels]).abs()
            score = torch.maximum(score, (self.scores[:, None] - self.best).abs())
            nearest = torch.maximum(box, 100 * score).argmin(1, keepdim=True)
            self.box, self.score = float(box.gather(1, nearest).max()), float(score.gather(1, nearest).max())

    def check_choice(self, suppression: Suppression, tolerance: Tolerance) -> None:
        """Raises if suppression would have left other boxes over, whatever the tolerance allows for."""
        if len(self.scores) > suppression.max_detections:
            raise InputError(f"it finds {len(self.scores)} objects, more than {suppression.max_detections}")
        if len(self.scores) and self.scores.min() < suppression.confidence - tolerance.score:
            raise InputError(f"it finds objects with scores down to {self.scores.min():.3g}")
        if (self.scores.diff() > 0).any():
            raise InputError("its detections are not in the order of their scores")
        overlap, _ = _overlaps(self.boxes, self.boxes, _ROUNDING)
        same = self.labels[:, None] == self.labels
        if ((overlap > suppression.iou) & same).fill_diagonal_(False).any():
            raise InputError(f"it finds objects of one class that overlap by more than {suppression.iou}")
        if (lost := self._lost(suppression, tolerance)) is not None:
            label, score = int(self.row_scores[lost].argmax()), float(self.best[lost])
            raise InputError(f"it misses an object of class {label} that the network finds with score {score:.3g}")

    def _lost(self, suppression: Suppression, tolerance: Tolerance) -> int | None:
        """A box of the network that is neither there nor suppressed by one that is."""
        least = self.best - tolerance.score
        _, overlap = _overlaps(self.rows, self.boxes, tolerance.box)
        alike = self.row_scores[:, self.labels] >= self.best[:, None] - 2 * tolerance.score
        answered = ((overlap > suppression.iou) & alike & (self.scores >= least[:, None])).any(1)
        if len(self.scores) == suppression.max_detections:
            answered |= self.scores.min() >= least
        missing = ((least > suppression.confidence) & ~answered).nonzero()
        return int(missing[0]) if len(missing) else None


def scores_of(rows: Tensor) -> Tensor:
    """(…, C) of rows (…, 5 + C)."""
    return rows[..., 5:] * rows[..., 4:5]


def _check_finite(rows: Tensor) -> None:
    if not rows.isfinite().all():
        raise InputError("it answers with numbers that are not finite")


def _corners(rows: Tensor) -> Tensor:
    center, half = rows[..., :2], rows[..., 2:4] / 2
    return torch.cat((center - half, center + half), -1)


def _overlaps(first_N4: Tensor, second_M4: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Least and largest IoU (N, M) of boxes of which each corner may be that many pixels off."""
    shared = torch.minimum(first_N4[:, None, 2:], second_M4[:, 2:]) - torch.maximum(
        first_N4[:, None, :2], second_M4[:, :2]
    )
    sides = (first_N4[:, 2:] - first_N4[:, :2]), (second_M4[:, 2:] - second_M4[:, :2])
    bounds = []
    for change in (-2 * noise, 2 * noise):
        inter = (shared + change).clamp(min=0).prod(-1)
        one, other = ((side - change).clamp(min=0).prod(-1) for side in sides)
        bounds.append((inter / (one[:, None] + other - inter).clamp(min=1e-9)).clamp(0, 1))
    return bounds[0], bounds[1]
