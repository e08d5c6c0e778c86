"""The loss of YOLOv5: box overlap, objectness and classification at the positives that an assigner chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from yolo_lightning.losses.assigner import AnchorRatioAssigner, Assigner, Assignment
from yolo_lightning.losses.criteria import BinaryCrossEntropy, IoULoss
from yolo_lightning.ops import IoUKind, iou
from yolo_lightning.types import Batch

__all__ = ["AnchorHead", "Term", "YOLOv5Loss"]


class AnchorHead(Protocol):
    """What the loss needs to know of a detection head."""

    @property
    def num_classes(self) -> int:
        """Number of classes C."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level."""

    @property
    def anchors(self) -> Tensor:
        """(levels, A, 2) widths and heights in pixels."""


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Args:
        criterion: Class, or other factory, of a module that compares (predictions, targets) and returns their mean.
        gain: Factor of the term, at least 0.

    Raises:
        TypeError: If ``criterion`` is a module rather than a factory of one.
        ValueError: If the gain is negative.
    """

    criterion: Callable[[], nn.Module]
    gain: float

    def __post_init__(self) -> None:
        if isinstance(self.criterion, nn.Module):
            name = type(self.criterion).__name__
            raise TypeError(f"criterion is an instance of {name}; give the class {name}, or functools.partial of it")
        if self.gain < 0:
            raise ValueError(f"gain is {self.gain}; it must be at least 0")


class YOLOv5Loss(nn.Module):
    """Loss of YOLOv5, of three terms that can be replaced one by one.

    The gains of the terms are those of a model with 80 classes and 3 levels at 640 px, and are scaled to the model at
    hand as YOLOv5 does: all by 3 / levels, classification by classes / 80, objectness by the image area.

    Args:
        head: Head of the detector; its anchors are read at every call, so they may change.
        assigner: Chooses the predictions that are to match a box.
        box: Compares predicted with target boxes, (n, 4) cxcywh in cells of the level, relative to their cell's corner.
        objectness: Compares objectness logits with their targets, all of a level.
        classification: Compares class logits of positives with their targets, (n, C). Unused with one class.
        objectness_target: Kind of IoU of a positive's predicted box that is its objectness target, at least 0.
        level_balance: Weight of each level's objectness, fine to coarse. By default 4, 1, 0.4 for three levels, else
            4, 1, 0.25, 0.06, 0.02 as far as there are levels.
        label_smoothing: Class targets are this / 2 and 1 − this / 2 rather than 0 and 1.
        autobalance: Lets the level balance follow the objectness losses while training.
        image_size: Size of the training images in pixels: (height, width), or one number for square ones. May be set
            later as the attribute of this name.

    Raises:
        ValueError: If an argument is out of its range, or does not fit the number of levels.
    """

    level_balance: Tensor

    def __init__(
        self,
        head: AnchorHead,
        assigner: Callable[[], Assigner] = AnchorRatioAssigner,
        box: Term = Term(IoULoss, 0.05),
        objectness: Term = Term(BinaryCrossEntropy, 1.0),
        classification: Term = Term(BinaryCrossEntropy, 0.5),
        objectness_target: IoUKind = "ciou",
        level_balance: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        autobalance: bool = False,
        image_size: int | tuple[int, int] = 640,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 1")
        if autobalance and 16 not in head.strides:
            raise ValueError(f"autobalance needs a level of stride 16; the head has {tuple(head.strides)}")
        # In a tuple: registered as a submodule the head would be in the state dict twice.
        self._head = (head,)
        self.assigner = assigner()
        self.box = box.criterion()
        self.objectness = objectness.criterion()
        self.classification = classification.criterion()
        self._gains = (box.gain, objectness.gain, classification.gain)
        self.objectness_target: IoUKind = objectness_target
        self.label_smoothing = label_smoothing
        self.autobalance = autobalance
        self.image_size = image_size
        self._fixed_balance = _level_balance(level_balance, len(head.strides))
        # A balance that is learned has to survive a resumed run.
        self.register_buffer("level_balance", torch.tensor(self._fixed_balance), persistent=autobalance)
        self.register_load_state_dict_pre_hook(_optional_balance)  # type: ignore[no-untyped-call]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the training images in pixels."""
        return self._image_size

    @image_size.setter
    def image_size(self, size: int | tuple[int, int]) -> None:
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1:
            raise ValueError(f"image_size is {size}; it must be positive")
        self._image_size = (height, width)

    @property
    def gains(self) -> dict[str, float]:
        """Factor of each term, scaled to the levels, classes and image size."""
        head, (box, objectness, classification) = self._head[0], self._gains
        per_level = 3 / len(head.strides)
        return {
            "box": box * per_level,
            "objectness": objectness * (self.image_size[0] / 640) * (self.image_size[1] / 640) * per_level,
            "classification": classification * per_level * head.num_classes / 80,
        }

    def forward(self, raw: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Compares predictions with labels.

        Half-precision predictions are compared in float32, float64 ones in float64.

        Args:
            raw: Predictions of each level, (B, A, H, W, 5 + C) logits: x, y, w, h, objectness, classes.
            batch: The labelled images; labels in 0…C − 1.

        Returns:
            Scalars ``box``, ``objectness`` and ``classification``, gains applied. YOLOv5 minimises their sum × B.

        Raises:
            ValueError: If the predictions do not have the head's levels and classes.
        """
        head = self._head[0]
        self._check(raw, head)
        assignments = self.assigner(raw, batch, head.anchors, head.strides)
        levels = [
            self._level(logits, assignment, anchors, stride)
            for logits, assignment, anchors, stride in zip(raw, assignments, head.anchors, head.strides, strict=True)
        ]
        box, objectness, classification = (torch.stack(term) for term in zip(*levels, strict=True))
        sums = {
            "box": box.sum(),
            "objectness": self._balanced(objectness),
            "classification": classification.sum(),
        }
        if self.autobalance and self.training:
            self._rebalance(objectness.detach(), head.strides.index(16))
        return {name: total * self.gains[name] for name, total in sums.items()}

    def _level(
        self, logits: Tensor, assignment: Assignment, anchors: Tensor, stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Box, objectness and classification loss of one level, without gains."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        positives, cells = logits[assignment.index].to(dtype), logits[..., 4].to(dtype)
        cell_targets = cells.new_zeros(cells.shape)
        box = classification = cells.new_zeros(())
        if len(assignment):
            # In cells rather than pixels: the eps in the IoU has the weight that it has in YOLOv5.
            predictions = _boxes_cxcywh(positives[:, :4], anchors.to(positives.dtype)[assignment.anchor] / stride)
            targets = assignment.boxes_cxcywh
            box = self.box(predictions, targets)
            if positives.shape[1] > 6:  # more than one class
                class_targets = self._class_targets(positives[:, 5:], assignment.labels)
                classification = self.classification(positives[:, 5:], class_targets)
            overlap = iou(predictions.detach(), targets, self.objectness_target, fmt="cxcywh").clamp(min=0)
            _write_last(cell_targets, assignment.index, overlap)
        return box, self.objectness(cells[..., None], cell_targets[..., None]), classification

    def _class_targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Smoothed one-hot targets, shaped as the class logits (P, C)."""
        targets = torch.full_like(logits, self.label_smoothing / 2)
        return targets.scatter_(1, labels[:, None], 1 - self.label_smoothing / 2)

    def _balanced(self, objectness: Tensor) -> Tensor:
        """Weighted sum over the levels (L,)."""
        if self.autobalance:
            # A clone, because the buffer changes before the backward pass.
            return (objectness * self.level_balance.clone()).sum()
        # Plain numbers, which are exact in whatever precision the loss has.
        return torch.stack([term * weight for term, weight in zip(objectness, self._fixed_balance, strict=True)]).sum()

    def _rebalance(self, objectness: Tensor, middle: int) -> None:
        """Moves the balance towards equal losses of the levels, keeping the weight of the level ``middle`` at 1."""
        balance = self.level_balance * 0.9999 + 0.0001 / objectness
        self.level_balance.copy_(balance / balance[middle])

    @staticmethod
    def _check(raw: Sequence[Tensor], head: AnchorHead) -> None:
        shapes = [tuple(level.shape) for level in raw]
        if len(raw) != len(head.strides) or any(len(s) != 5 or s[4] != 5 + head.num_classes for s in shapes):
            raise ValueError(
                f"the head has {len(head.strides)} levels and {head.num_classes} classes: expected as many tensors "
                f"(B, A, H, W, {5 + head.num_classes}), found {shapes}"
            )


def _level_balance(balance: Sequence[float] | None, num_levels: int) -> list[float]:
    if balance is None:
        balance = (4.0, 1.0, 0.4) if num_levels == 3 else (4.0, 1.0, 0.25, 0.06, 0.02)[:num_levels]
    if len(balance) != num_levels:
        raise ValueError(f"level_balance needs a weight for each of {num_levels} levels, has {len(balance)}")
    return [float(weight) for weight in balance]


def _optional_balance(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Lets losses with and without autobalance read each other's state."""
    key = prefix + "level_balance"
    if isinstance(module, YOLOv5Loss) and module.autobalance:
        state_dict.setdefault(key, module.level_balance)
    else:
        state_dict.pop(key, None)


def _boxes_cxcywh(logits: Tensor, anchors: Tensor) -> Tensor:
    """Predicted boxes (P, 4) cxcywh from the cell's top left corner, in the unit of the anchors: cells."""
    centre, size = (2 * logits.sigmoid()).tensor_split(2, dim=-1)
    return torch.cat((centre - 0.5, size.square() * anchors), dim=-1)


def _write_last(grid: Tensor, index: tuple[Tensor, ...], values: Tensor) -> None:
    """Writes values into a contiguous grid (B, A, H, W); where an index repeats the last counts, on any device."""
    flat = index[0]
    for position, size in zip(index[1:], grid.shape[1:], strict=True):
        flat = flat * size + position
    writer = torch.zeros(grid.numel(), dtype=torch.int64, device=grid.device)
    writer.scatter_reduce_(0, flat, torch.arange(len(flat), device=grid.device), "amax")
    grid.view(-1)[flat] = values[writer[flat]]
