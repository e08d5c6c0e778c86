"""Parts of one's own, outside the package; config.yaml beside this file trains with all of them.

A part is a class with typed arguments: those that YAML may set, after those that the library hands over.
Shape letters: N boxes of the batch · A anchors · B images · C classes · K = 5 + C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt, LayerNorm2d

from yolo_lightning import Batch, DetectionModule, FeatureInfo, Sample
from yolo_lightning.data import DetectionDataset, SampleTransform, YOLOv5Augmentation
from yolo_lightning.losses import Assigner, Assignment
from yolo_lightning.models import Backbone, YOLOv5Head
from yolo_lightning.models.layers import Conv
from yolo_lightning.ops import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from yolo_lightning.types import SampleKey

__all__ = ["AlphaIoULoss", "ConvNeXtBackbone", "DecoupledHead", "GradientNorms", "GreyOut", "SimOTAAssigner"]


class ConvNeXtBackbone(Backbone):
    """ConvNeXt (https://arxiv.org/abs/2201.03545), from torchvision.

    Args:
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        drop_path: Probability that the last block is skipped in training; it grows from block to block.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (40, 80, 160, 320),
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        stages = [
            CNBlockConfig(width, wider, depth)
            for width, wider, depth in zip(widths, (*widths[1:], None), depths, strict=True)
        ]
        # Stem, then stage and downsampling by turns.
        self.layers = ConvNeXt(stages, stochastic_depth_prob=drop_path, num_classes=1).features
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths[1:])
        self.features = FeatureInfo(tuple(widths[1:]), (8, 16, 32))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of images (B, 3, H, W) at strides 8, 16 and 32."""
        maps = []
        for layer in self.layers:
            images = layer(images)
            maps.append(images)
        fine, middle, coarse = (norm(x) for norm, x in zip(self.norms, maps[3::2], strict=True))
        return fine, middle, coarse


class DecoupledHead(YOLOv5Head):
    """Branches of their own for boxes and for classes, as in YOLOX (https://arxiv.org/abs/2107.08430).

    Args:
        features: Channels and strides of the input.
        num_classes: Number of classes.
        width: Channels of the branches.
        anchors: Anchors as of ``YOLOv5Head``.
    """

    def __init__(
        self,
        features: FeatureInfo,
        num_classes: int,
        width: int = 64,
        anchors: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__(features, num_classes, anchors)
        # Takes the place of one convolution for each level; the rest of the head stays as it is.
        num_anchors = self.anchors.shape[1]
        self.m = nn.ModuleList(_Branches(channels, width, num_anchors, num_classes) for channels in features.channels)

    def official_layers(self) -> dict[int, nn.Module]:
        """None: published YOLOv5 files have no such head."""
        return {}


class _Branches(nn.Module):
    """Predictions of one level, (B, A · K, H, W) in the order that ``YOLOv5Head`` expects."""

    def __init__(self, channels: int, width: int, num_anchors: int, num_classes: int) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.stem = Conv(channels, width)
        self.box_branch, self.class_branch = Conv(width, width, 3), Conv(width, width, 3)
        self.box = nn.Conv2d(width, num_anchors * 5, 1)
        self.classes = nn.Conv2d(width, num_anchors * num_classes, 1)
        assert self.box.bias is not None
        assert self.classes.bias is not None
        rare = -math.log(99)  # an object, or a class, in one of a hundred predictions
        nn.init.constant_(self.box.bias.view(num_anchors, 5)[:, 4], rare)
        nn.init.constant_(self.classes.bias, rare)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        box = self.box(self.box_branch(x)).unflatten(1, (self.num_anchors, -1))
        classes = self.classes(self.class_branch(x)).unflatten(1, (self.num_anchors, -1))
        return torch.cat((box, classes), dim=2).flatten(1, 2)


class SimOTAAssigner(Assigner):
    """Gives each box the predictions that fit it best at the moment, SimOTA of YOLOX (https://arxiv.org/abs/2107.08430).

    Candidates are all anchors of the four cells nearest to a box's centre on every level, which are those whose
    prediction can reach it. A box takes as many as the sum of its best IoUs; a prediction serves its cheapest box.

    Args:
        num_candidates: Best IoUs that are added up to the number of positives of a box.
        iou_weight: Weight of −log IoU against the cross-entropy of the classes.
    """

    def __init__(self, num_candidates: int = 10, iou_weight: float = 3.0) -> None:
        super().__init__()
        self.num_candidates = num_candidates
        self.iou_weight = iou_weight

    @torch.no_grad()
    def forward(self, raw: Sequence[Tensor], batch: Batch, anchors: Tensor, strides: Sequence[int]) -> list[Assignment]:
        """Chooses the positives of every level."""
        levels = [self._candidates(*level, batch) for level in zip(raw, anchors, strides, strict=True)]
        overlap = torch.cat([level.overlap.flatten(1) for level in levels], dim=1)
        cost = torch.cat([level.cost.flatten(1) for level in levels], dim=1)
        counts = overlap.topk(min(self.num_candidates, overlap.shape[1])).values.sum(1).int().clamp(min=1)
        rank = cost.argsort(1).argsort(1)
        chosen = (rank < counts[:, None]) & cost.isfinite()
        parts = chosen.chunk(len(levels), dim=1)  # equally many anchors on each level
        return [level.assignment(part, batch) for level, part in zip(levels, parts, strict=True)]

    def _candidates(self, raw: Tensor, anchors_A2: Tensor, stride: int, batch: Batch) -> _Candidates:
        raw = raw.float()
        height, width = raw.shape[2:4]
        boxes_N4 = xyxy_to_cxcywh(batch.boxes.float()) / stride
        steps_42 = raw.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
        cell_N42 = (boxes_N4[:, None, :2] - 0.5).floor() + steps_42
        inside_N4 = ((cell_N42 >= 0) & (cell_N42 < raw.new_tensor([width, height]))).all(-1)
        column_N4 = cell_N42[..., 0].long().clamp(0, width - 1)
        row_N4 = cell_N42[..., 1].long().clamp(0, height - 1)
        anchor_A = torch.arange(len(anchors_A2), device=raw.device)
        image_N = batch.image_index
        logits = raw[image_N[:, None, None], anchor_A[:, None], row_N4[:, None], column_N4[:, None]]  # (N, A, 4, K)

        targets = torch.cat((boxes_N4[:, None, :2] - cell_N42, boxes_N4[:, None, 2:].expand(-1, 4, -1)), -1)
        centre, size = (2 * logits[..., :4].sigmoid()).tensor_split(2, dim=-1)
        size = size.square() * anchors_A2[:, None] / stride
        predictions = cxcywh_to_xyxy(torch.cat((centre - 0.5, size), -1))
        overlap = iou(predictions, cxcywh_to_xyxy(targets)[:, None]) * inside_N4[:, None]

        probability = (logits[..., 5:].sigmoid() * logits[..., 4:5].sigmoid()).sqrt()
        wanted = F.one_hot(batch.labels, logits.shape[-1] - 5).float()[:, None, None].expand_as(probability)
        entropy = F.binary_cross_entropy(probability, wanted, reduction="none").sum(-1)
        cost = entropy - self.iou_weight * (overlap + 1e-8).log()
        return _Candidates(overlap, cost.masked_fill(~inside_N4[:, None], torch.inf), row_N4, column_N4, targets)


@dataclass(frozen=True)
class _Candidates:
    """Candidates of one level: A anchors of 4 cells for each box.

    Args:
        overlap: (N, A, 4) IoU of predicted and target box.
        cost: (N, A, 4) cost of the assignment; infinite outside the image.
        row: (N, 4) row of the cells.
        column: (N, 4) column of the cells.
        boxes_cxcywh: (N, 4, 4) target boxes in cells, from the corner of the cell.
    """

    overlap: Tensor
    cost: Tensor
    row: Tensor
    column: Tensor
    boxes_cxcywh: Tensor

    def assignment(self, chosen: Tensor, batch: Batch) -> Assignment:
        """The chosen (N, A · 4) candidates, each prediction for the box to which it costs least."""
        box, anchor, cell = chosen.view(self.cost.shape).nonzero(as_tuple=True)
        # Cheapest first, so that the first of equal predictions is the one to keep.
        order = self.cost[box, anchor, cell].argsort()
        box, anchor, cell = box[order], anchor[order], cell[order]
        index = torch.stack((batch.image_index[box], anchor, self.row[box, cell], self.column[box, cell]))
        unique, inverse = torch.unique(index, dim=1, return_inverse=True)
        positions = torch.arange(len(box), device=box.device)
        first = torch.full((unique.shape[1],), len(box), device=box.device).scatter_reduce(
            0, inverse, positions, "amin"
        )
        image, anchor, row, column = index[:, first]
        return Assignment(image, anchor, row, column, self.boxes_cxcywh[box, cell][first], batch.labels[box][first])


class AlphaIoULoss(nn.Module):
    """Alpha-IoU with a distance term (https://arxiv.org/abs/2110.13675): boxes that nearly fit weigh more.

    Args:
        alpha: Power of the overlap; 1 gives the DIoU loss.
    """

    def __init__(self, alpha: float = 3.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Compares (n, 4) cxcywh boxes with their targets (n, 4); a scalar."""
        overlap = iou(predictions, targets, fmt="cxcywh")
        distance = overlap - iou(predictions, targets, "diou", fmt="cxcywh")
        powers = [part.clamp(min=1e-7).pow(self.alpha) for part in (overlap, distance)]
        return (1 - powers[0] + powers[1]).mean()


class GreyOut(SampleTransform):
    """Covers a random rectangle with grey, and forgets objects that are mostly under it.

    Args:
        base: Makes the transform whose samples are covered.
        probability: Probability to cover something.
        side: Longest side of the rectangle, as a fraction of the image's.
        hidden: An object goes if more than this fraction of it is covered.
    """

    def __init__(
        self,
        base: Callable[[], SampleTransform] = YOLOv5Augmentation,
        probability: float = 0.5,
        side: float = 0.3,
        hidden: float = 0.7,
    ) -> None:
        self.base = base()
        self.probability = probability
        self.side = side
        self.hidden = hidden

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        """The sample of the base transform, covered; a function of the key alone, as every sample."""
        sample = self.base(dataset, key)
        # The last number tells this stream of random numbers from that of the base.
        generator = np.random.default_rng((key.seed, key.epoch, key.index, 1))
        if generator.random() >= self.probability:
            return sample
        size_wh = np.array(sample.image.shape[1::-1])
        low = (generator.random(2) * size_wh).astype(int)
        high = low + (generator.random(2) * self.side * size_wh).astype(int)
        sample.image[low[1] : high[1], low[0] : high[0]] = 114
        boxes = sample.boxes
        covered = (np.minimum(boxes[:, 2:], high) - np.maximum(boxes[:, :2], low)).clip(min=0).prod(1)
        keep = covered <= self.hidden * (boxes[:, 2:] - boxes[:, :2]).prod(1)
        sample.boxes, sample.labels = boxes[keep], sample.labels[keep]
        return sample


class GradientNorms(Callback):
    """Logs the norm of the gradient of each part of the network, mean of the epoch, before clipping.

    Args:
        prefix: Beginning of the names in the log.
    """

    def __init__(self, prefix: str = "gradient_norm") -> None:
        self.prefix = prefix

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: DetectionModule, optimizer: Optimizer) -> None:
        """Logs the norms."""
        for name, part in pl_module.detector.named_children():
            norms = [p.grad.norm() for p in part.parameters() if p.grad is not None]
            if norms:
                pl_module.log(
                    f"{self.prefix}/{name}", torch.stack(norms).norm(), on_step=False, on_epoch=True, batch_size=1
                )
