"""Images to detections: one network or several, seen plainly, augmented, or slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from yolo_lightning.models.augmentation import TestTimeAugmentation
from yolo_lightning.models.detector import Detector
from yolo_lightning.models.fusion import WeightedBoxesFusion
from yolo_lightning.models.slices import Slices
from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

__all__ = ["Inference"]


class Inference:
    """Detects with one or several networks; no module itself, so that none of them enters a checkpoint.

    Several networks are an ensemble: their boxes are pooled and suppress each other, as in YOLOv5, or are averaged by
    ``fusion``. Whether the networks train or evaluate is left as it is.

    Attributes:
        single_class: Whether all classes are taken as one: a box has the score of its best class, and label 0. What is
            suppressed, or fused, then depends on no class, as with YOLOv5's ``--single-cls``.

    Args:
        detectors: The networks, all with the same number of classes.
        postprocess: Turns the networks' boxes into detections.
        augmentation: Look at each image several times, as YOLOv5 does with ``--augment``. None looks once.
        fusion: Average the boxes of several networks, or of several views, that show one object. None takes the best.
        slices: Look at large images piece by piece. None looks at the whole.

    Raises:
        ValueError: If there is no network, the networks differ in their number of classes, or the slices' sides are not
            multiples of the stride.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        postprocess: NMS,
        *,
        augmentation: TestTimeAugmentation | None = None,
        fusion: WeightedBoxesFusion | None = None,
        slices: Slices | None = None,
    ) -> None:
        if not detectors:
            raise ValueError("inference needs at least one detector")
        if len(counts := {detector.num_classes for detector in detectors}) > 1:
            raise ValueError(f"the networks of an ensemble must know the same classes, found {sorted(counts)} classes")
        self.detectors = tuple(detectors)
        self.postprocess = postprocess
        self.augmentation = augmentation
        self.fusion = fusion
        self.slices = slices
        self.single_class = False
        if fusion is not None:
            fusion.check(len(self.detectors))
        if slices is not None:
            slices.check(self.stride)

    @property
    def stride(self) -> int:
        """Number of which the sides of images must be multiples."""
        return max(detector.strides[-1] for detector in self.detectors)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.detectors[0].num_classes

    @property
    def is_plain(self) -> bool:
        """Whether there is one network that looks once, so that its raw predictions say all."""
        return len(self.detectors) == 1 and not (self.augmentation or self.fusion or self.slices)

    @torch.no_grad()
    def __call__(self, images: Tensor, raw: tuple[Tensor, ...] | None = None) -> list[Detections]:
        """Detects in a batch of images.

        Args:
            images: (B, 3, H, W) RGB, floating point in 0…1; sides are multiples of :attr:`stride`.
            raw: The first network's raw predictions of these images, if they are there already; saves a pass.

        Returns:
            One for each image, boxes in its pixels, by descending score.
        """
        if self.slices is None:
            return self._detect(images, raw)
        return self.slices(images, self._detect, self.postprocess, self.stride)

    def _detect(self, images: Tensor, raw: tuple[Tensor, ...] | None = None) -> list[Detections]:
        """Detections in images that are seen as a whole."""
        predictions = [list(self._views(detector, images, given)) for detector, given in self._with_raw(raw)]
        if self.fusion is not None:
            size = (images.shape[-2], images.shape[-1])
            return self.fusion(predictions, self.postprocess, size)
        boxes, scores = zip(*(view for views in predictions for view in views), strict=True)
        detections: list[Detections] = self.postprocess(_join(boxes), _join(scores))
        return detections

    def _with_raw(self, raw: tuple[Tensor, ...] | None) -> Iterator[tuple[Detector, tuple[Tensor, ...] | None]]:
        for position, detector in enumerate(self.detectors):
            yield detector, raw if position == 0 else None

    def _views(self, detector: Detector, images: Tensor, raw: tuple[Tensor, ...] | None) -> list[tuple[Tensor, Tensor]]:
        """Boxes (B, N, 4) and scores (B, N, C), or (B, N, 1) of a single class, of each look of a network."""
        views = self._looks(detector, images, raw)
        return [(boxes, scores.amax(-1, keepdim=True)) for boxes, scores in views] if self.single_class else views

    def _looks(self, detector: Detector, images: Tensor, raw: tuple[Tensor, ...] | None) -> list[tuple[Tensor, Tensor]]:
        if self.augmentation is not None:
            return self.augmentation(detector, images, raw, whole=self.fusion is not None)
        looks_at_all = self.fusion is not None or type(self.postprocess) is not NMS
        if raw is not None or looks_at_all:
            return [detector.decode(detector(images) if raw is None else raw)]
        # A few milliseconds less; in the last bit a sigmoid may depend on how many there are.
        return [detector.decode_above(detector(images), self.postprocess.lowest_threshold)]


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), 1)
