"""Weighted boxes fusion: detections of one object by several networks become one box, their average."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from yolo_lightning.extras import require
from yolo_lightning.ops import NMS, clip_boxes
from yolo_lightning.types import Detections

__all__ = ["WeightedBoxesFusion"]

ConfidenceType = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]


class WeightedBoxesFusion:
    """Averages boxes that show one object (https://arxiv.org/abs/1910.13302), by the library of the paper's authors.

    Each network has a vote, and with test-time augmentation each view of each network has one. The boxes of a vote
    suppress each other as usual; then the boxes of all votes that show one object are averaged, weighted by score. An
    object that few votes know gets a lower score, and is reported if that is still above the confidence threshold.
    Views vote with all their levels: what test-time augmentation leaves out would count as votes against an object.

    Args:
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        skip_box_threshold: Scores at or below it do not vote, 0…1. None takes the confidence threshold.
        weights: How much each network counts. None counts all alike.
        confidence_type: How scores are joined, as in the library: ``avg``, ``max``, ``box_and_model_avg`` or
            ``absent_model_aware_avg``.

    Raises:
        ValueError: If a threshold is outside 0…1, or a weight is not positive.
    """

    def __init__(
        self,
        iou_threshold: float = 0.55,
        skip_box_threshold: float | None = None,
        weights: Sequence[float] | None = None,
        confidence_type: ConfidenceType = "avg",
    ) -> None:
        for name, value in (("iou_threshold", iou_threshold), ("skip_box_threshold", skip_box_threshold)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1")
        if weights is not None and not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(f"weights must be positive, found {list(weights)}")
        self.iou_threshold = iou_threshold
        self.skip_box_threshold = skip_box_threshold
        self.weights = None if weights is None else tuple(weights)
        self.confidence_type = confidence_type

    def check(self, num_detectors: int) -> None:
        """Checks that the fusion can be done for so many networks.

        Raises:
            InputError: If the library is not installed.
            ValueError: If there is not one weight for each network.
        """
        _library()
        if self.weights is not None and len(self.weights) != num_detectors:
            raise ValueError(f"fusion has {len(self.weights)} weights for {num_detectors} networks: give one for each")

    def __call__(
        self, predictions: Sequence[Sequence[tuple[Tensor, Tensor]]], postprocess: NMS, size: tuple[int, int]
    ) -> list[Detections]:
        """Fuses the predictions for a batch of images.

        Args:
            predictions: For each network, and each of its views, boxes (B, N, 4) xyxy pixels and scores (B, N, C).
            postprocess: Makes the detections of each vote; its confidence threshold and most detections also hold for
                what is reported.
            size: Height and width of the images.

        Returns:
            Detections of each of the B images by descending score, clipped to the image.
        """
        weights = self.weights or (1.0,) * len(predictions)
        voter = copy.copy(postprocess)
        if self.skip_box_threshold is not None:
            voter.confidence_threshold = self.skip_box_threshold
        votes = [voter(boxes, scores) for views in predictions for boxes, scores in views]
        vote_weights = [weight for weight, views in zip(weights, predictions, strict=True) for _ in views]
        return [
            _report(self._fuse(image_votes, vote_weights, size), postprocess)
            for image_votes in zip(*votes, strict=True)
        ]

    def _fuse(self, votes: Sequence[Detections], weights: Sequence[float], size: tuple[int, int]) -> Detections:
        """The detections of one image that several votes make together."""
        height, width = size
        scale = np.array([width, height, width, height], np.float32)
        boxes, scores, labels = [], [], []
        for vote in votes:
            clipped = clip_boxes(vote.boxes, size)
            visible = (clipped[:, 2:] > clipped[:, :2]).all(1)
            boxes.append(clipped[visible].cpu().numpy() / scale)
            scores.append(vote.scores[visible].cpu().numpy())
            labels.append(vote.labels[visible].cpu().numpy())
        fused = _library().weighted_boxes_fusion(
            boxes, scores, labels, weights=weights, iou_thr=self.iou_threshold, conf_type=self.confidence_type
        )
        device = votes[0].boxes.device
        return Detections(
            boxes=torch.from_numpy(fused[0] * scale).float().to(device),
            # Several boxes of a vote with a large weight could bring it above 1.
            scores=torch.from_numpy(fused[1]).float().clamp(max=1).to(device),
            labels=torch.from_numpy(fused[2]).long().to(device),
        )


def _library() -> Any:
    return require("ensemble_boxes", "ensemble", "for weighted boxes fusion")


def _report(found: Detections, postprocess: NMS) -> Detections:
    """Detections that are to be reported."""
    threshold = torch.as_tensor(postprocess.confidence_threshold, device=found.scores.device)
    order = found.scores.argsort(descending=True, stable=True)
    sure = found.scores > (threshold[found.labels] if threshold.ndim else threshold)
    kept = order[sure[order]]
    if postprocess.class_agnostic:
        kept = kept[nms(found.boxes[kept], found.scores[kept], postprocess.iou_threshold)]
    kept = kept[: postprocess.max_detections]
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
