"""Non-maximum suppression: from dense predictions to the detections of each image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from yolo_lightning.types import Detections

__all__ = ["NMS"]


class NMS(nn.Module):
    """Keeps the best of boxes that overlap, as YOLOv5 does.

    Greedy: in descending score, a box goes if it overlaps a kept box of its class by more than ``iou_threshold``.
    Equal scores keep the order of the input. There is no time limit: every image is finished.

    Args:
        confidence_threshold: Only scores above it count, 0…1: one number, or one for each class.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        max_detections: Most detections kept for an image.
        multi_label: A box may be reported once for each class above the threshold; otherwise for its best class only,
            and not at all if that class is not above its threshold.
        class_agnostic: Boxes suppress each other whatever their classes.
        classes: Class indices to report; all if None.
        max_candidates: Most candidates of an image that enter the suppression, the best by score.

    Raises:
        ValueError: If a threshold is outside 0…1 or there is none, a count is below 1, or a class index is negative.
    """

    def __init__(
        self,
        confidence_threshold: float | Sequence[float] = 0.001,
        iou_threshold: float = 0.6,
        max_detections: int = 300,
        multi_label: bool = True,
        class_agnostic: bool = False,
        classes: Sequence[int] | None = None,
        max_candidates: int = 30_000,
    ) -> None:
        super().__init__()
        if isinstance(confidence_threshold, Sequence):
            confidence_threshold = tuple(confidence_threshold)
            if not confidence_threshold:
                raise ValueError("confidence_threshold is empty; give one number, or one for each class")
        _check_thresholds("confidence_threshold", confidence_threshold)
        _check_thresholds("iou_threshold", iou_threshold)
        for name, count in (("max_detections", max_detections), ("max_candidates", max_candidates)):
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if classes is not None and any(label < 0 for label in classes):
            raise ValueError(f"classes are {list(classes)}; a class index cannot be negative")
        self.confidence_threshold: float | tuple[float, ...] = confidence_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.multi_label = multi_label
        self.class_agnostic = class_agnostic
        self.classes = None if classes is None else tuple(classes)
        self.max_candidates = max_candidates

    @torch.no_grad()
    def forward(self, boxes: Tensor, scores: Tensor) -> list[Detections]:
        """Selects the detections of every image of a batch.

        Args:
            boxes: (B, N, 4) xyxy pixels. Boxes that are not finite are left out.
            scores: (B, N, C) confidence in 0…1 of each class.

        Returns:
            Detections of each of the B images by descending score, in float32.

        Raises:
            ValueError: If the shapes do not fit each other, ``classes`` names a class that the scores lack, or there is
                not one threshold for each of their classes.
        """
        self._check(boxes, scores)
        threshold = self._threshold(scores.device)
        # Few of the many boxes pass, so the work per class starts with those that do.
        per_class = isinstance(threshold, Tensor)
        is_candidate = (scores > threshold).any(-1) if per_class else scores.amax(-1) > threshold
        return [
            self._detect(image_boxes[chosen].float(), image_scores[chosen].float(), threshold)
            for image_boxes, image_scores, chosen in zip(boxes, scores, is_candidate, strict=True)
        ]

    @property
    def lowest_threshold(self) -> float:
        """Below it no score of any class counts."""
        return (
            min(self.confidence_threshold)
            if isinstance(self.confidence_threshold, tuple)
            else self.confidence_threshold
        )

    def extra_repr(self) -> str:
        """The settings that matter most, for ``print``."""
        return f"confidence_threshold={self.confidence_threshold}, iou_threshold={self.iou_threshold}"

    def _check(self, boxes: Tensor, scores: Tensor) -> None:
        if boxes.ndim != 3 or boxes.shape[-1] != 4 or scores.ndim != 3 or scores.shape[:2] != boxes.shape[:2]:
            raise ValueError(
                f"expected boxes (B, N, 4) and scores (B, N, C), found {tuple(boxes.shape)} and {tuple(scores.shape)}"
            )
        num_classes = scores.shape[-1]
        if num_classes == 0:
            raise ValueError("scores have no class")
        if self.classes and max(self.classes) >= num_classes:
            raise ValueError(f"classes are {list(self.classes)}, but the scores have 0…{num_classes - 1}")
        if isinstance(self.confidence_threshold, tuple) and len(self.confidence_threshold) != num_classes:
            raise ValueError(
                f"confidence_threshold has {len(self.confidence_threshold)} numbers, but the scores have "
                f"{num_classes} classes"
            )

    def _threshold(self, device: torch.device) -> float | Tensor:
        """The threshold as it is compared with scores: a number, or (C,) on their device."""
        if isinstance(self.confidence_threshold, tuple):
            # No buffer, which would be rounded where a network is put in half precision.
            return torch.tensor(self.confidence_threshold, dtype=torch.float32, device=device)
        return self.confidence_threshold

    def _detect(self, boxes: Tensor, scores: Tensor, threshold: float | Tensor) -> Detections:
        """Detections of one image from its candidate boxes (n, 4) and scores (n, C)."""
        box_index, labels, confidence = self._candidates(scores, threshold)
        usable = boxes.isfinite().all(-1)[box_index]
        if self.classes is not None:
            usable &= torch.isin(labels, torch.tensor(self.classes, dtype=labels.dtype, device=labels.device))
        box_index, labels, confidence = box_index[usable], labels[usable], confidence[usable]
        order = confidence.argsort(descending=True, stable=True)[: self.max_candidates]
        boxes, labels, confidence = boxes[box_index[order]], labels[order], confidence[order]
        kept = self._suppress(boxes if self.class_agnostic else _apart(boxes, labels), confidence)
        return Detections(boxes=boxes[kept], scores=confidence[kept], labels=labels[kept])

    def _candidates(self, scores: Tensor, threshold: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Box index, class and score of all (box, class) pairs that pass the threshold."""
        if self.multi_label and scores.shape[-1] > 1:
            box_index, labels = (scores > threshold).nonzero(as_tuple=True)
            return box_index, labels, scores[box_index, labels]
        confidence, labels = scores.max(-1)
        box_index = torch.arange(len(scores), device=scores.device)
        if isinstance(threshold, Tensor):
            passed = confidence > threshold[labels]
            return box_index[passed], labels[passed], confidence[passed]
        return box_index, labels, confidence

    def _suppress(self, boxes: Tensor, confidence: Tensor) -> Tensor:
        """Indices of the kept boxes, at most ``max_detections``; the input descends by confidence.

        Whether a box is kept depends on better boxes only. So the best few are tried first, and more only if these
        do not yield enough; the answer is the same.
        """
        size = 4 * self.max_detections
        while True:
            kept: Tensor = nms(boxes[:size], confidence[:size], self.iou_threshold)
            if len(kept) >= self.max_detections or size >= len(boxes):
                return kept[: self.max_detections]
            size *= 4


def _check_thresholds(name: str, values: float | Sequence[float]) -> None:
    for value in values if isinstance(values, Sequence) else [values]:
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be between 0 and 1")


def _apart(boxes: Tensor, labels: Tensor) -> Tensor:
    """Boxes shifted by class, so far that classes cannot overlap, and no farther, for the precision of float32."""
    if len(boxes) == 0:
        return boxes
    span = boxes.max() - boxes.min() + 1
    return boxes + (labels * span)[:, None]
