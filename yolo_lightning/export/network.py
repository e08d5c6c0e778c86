"""What goes into an exported file: the fused network, the decoding of its boxes, and if asked for more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from yolo_lightning.models import Detector
from yolo_lightning.runtimes.contract import Suppression

__all__ = ["ExportedNetwork"]


class ExportedNetwork(nn.Module):
    """Images to rows, or to detections.

    Args:
        detector: Fused here; not changed.
        dtype: What the network computes in. Input and output stay as they are.
        preprocess: Takes (B, H, W, C) uint8 instead of (B, C, H, W) float32 in 0…1.
        suppression: Answers with detections instead of rows.
        num_images: Images in a batch, which suppression needs to know.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        dtype: torch.dtype = torch.float32,
        preprocess: bool = False,
        suppression: Suppression | None = None,
        num_images: int = 1,
    ) -> None:
        super().__init__()
        self.detector = detector.fuse().cpu().to(dtype).requires_grad_(False)
        self.dtype = dtype
        self.preprocess = preprocess
        self.suppression = suppression
        self.num_images = num_images
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Rows (B, N, 5 + C) or detections (n, 7), float32, as the contract says."""
        if self.preprocess:
            images = images.permute(0, 3, 1, 2).to(torch.float32) / 255
        detector = self.detector
        # Without the detector's check of sides, which exporters would trace.
        rows = detector.head.rows(detector.neck(detector.backbone(images.to(self.dtype))))
        if self.suppression is None:
            return rows
        found = [_suppress(rows[position], position, self.suppression) for position in range(self.num_images)]
        return torch.cat(found)


def _suppress(rows_NK: Tensor, image: int, suppression: Suppression) -> Tensor:
    """Detections (n, 7) of an image, by descending score; each box is one of its best class."""
    # No score is above its objectness: the best class is sought for few boxes only.
    (likely,) = (rows_NK[:, 4] > suppression.confidence).nonzero(as_tuple=True)
    rows_NK = rows_NK[likely]
    probability, labels = rows_NK[:, 5:].max(-1)
    scores = probability * rows_NK[:, 4]
    (kept,) = (scores > suppression.confidence).nonzero(as_tuple=True)
    center, half = rows_NK[kept, :2], rows_NK[kept, 2:4] / 2
    boxes = torch.cat((center - half, center + half), -1)
    labels, scores = labels[kept].to(rows_NK.dtype), scores[kept]
    # Classes apart, so that only boxes of one class suppress each other. There may be no box to take the maximum of.
    corners = torch.cat((boxes.flatten(), boxes.new_zeros(1)))
    apart = boxes + labels[:, None] * (corners.max() - corners.min() + 1)
    best = nms(apart, scores, suppression.iou)[: suppression.max_detections]
    number = torch.full_like(scores[best], image)
    return torch.cat((number[:, None], boxes[best], scores[best, None], labels[best, None]), -1)
