"""An exported file in the place of a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector
from yolo_lightning.ops import NMS
from yolo_lightning.runtimes.contract import Contract

__all__ = ["ExportedDetector", "Run"]

Run = Callable[[Tensor], Tensor]
"""Takes images as the contract says, and returns what it says, on any device."""


class ExportedDetector(Detector):
    """A network in an exported file, for inference alone; used like any other detector.

    Batches of any size go through a file for a fixed one piece by piece, the last one filled up.

    Args:
        contract: Of the file.
        run: Runs it.
        path: The file, for messages.

    Attributes:
        contract: Of the file.
    """

    head = None  # type: ignore[assignment]  # nor backbone nor neck: a file is one piece

    def __init__(self, contract: Contract, run: Run, path: Path) -> None:
        nn.Module.__init__(self)
        self.contract = contract
        self._run = run
        self._path = path

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.contract.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self.contract.input.channels

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of each level."""
        return self.contract.strides

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only height and width of images; None if any multiples of the stride will do."""
        height, width = self.contract.input.height, self.contract.input.width
        return None if height is None or width is None else (height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the file answers.

        Args:
            images: (B, C, H, W) RGB, floating point in 0…1.

        Returns:
            Rows (B, N, 5 + classes), or one tensor of detections (n, 7); see
            :class:`~yolo_lightning.runtimes.contract.Output`.

        Raises:
            InputError: If the file is not for images of this size.
        """
        self._check(images)
        batch, count = self.contract.input.batch, len(images)
        pieces = [images] if batch is None else list(torch.split(images, batch))
        answers = [self._answer(piece, batch) for piece in pieces] if count else []
        if self.contract.output.layout == "rows":
            return (torch.cat(answers) if answers else images.new_zeros(0, 0, 5 + self.num_classes, dtype=torch.float),)
        for position, answer in enumerate(answers):
            answer[:, 0] += position * (batch or 0)
        found = torch.cat(answers) if answers else images.new_zeros(0, 7, dtype=torch.float)
        return (_as_rows(found, count, self.num_classes),)

    def decode(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4) xyxy in pixels and scores (B, N, C) of rows."""
        (rows,) = raw
        center, half = rows[..., :2], rows[..., 2:4] / 2
        return torch.cat((center - half, center + half), -1), rows[..., 5:] * rows[..., 4:5]

    def decode_above(self, raw: tuple[Tensor, ...], threshold: float) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`, without the boxes whose objectness is no more than the threshold in all images."""
        (rows,) = raw
        return self.decode((rows[:, (rows[..., 4] > threshold * (1 - 1e-6)).any(0)],))

    def decode_rows(self, raw: tuple[Tensor, ...]) -> Tensor:
        """The rows themselves."""
        return raw[0]

    def fuse(self) -> Self:
        """Itself: it was fused when it was exported."""
        return self

    def check_postprocess(self, postprocess: NMS) -> None:
        """Makes sure that what suppression asks for is not lost in that of the file.

        Raises:
            InputError: If it is.
        """
        done = self.contract.suppression
        if done is None:
            return
        wanted = {
            f"a confidence threshold below {done.confidence}": postprocess.lowest_threshold < done.confidence,
            f"an IoU threshold above {done.iou}": postprocess.iou_threshold > done.iou,
            f"more than {done.max_detections} detections": postprocess.max_detections > done.max_detections,
            "several classes for a box (multi_label)": postprocess.multi_label and self.num_classes > 1,
        }
        if asked := [what for what, is_wanted in wanted.items() if is_wanted]:
            raise InputError(
                f"{self._path} suppresses boxes itself, so {' and '.join(asked)} cannot be had: export without --nms"
            )

    def _check(self, images: Tensor) -> None:
        size = (images.shape[-2], images.shape[-1])
        stride = self.contract.input.stride
        fixed = self.fixed_size
        if fixed is not None and fixed != size:
            raise InputError(
                f"{self._path} is for images of {fixed[0]}×{fixed[1]} pixels, not {size[0]}×{size[1]}: export with "
                "--dynamic, or use that size"
            )
        if size[0] % stride or size[1] % stride:
            raise InputError(f"{self._path} needs images whose sides are multiples of {stride}, not {size}")

    def _answer(self, images: Tensor, batch: int | None) -> Tensor:
        """What the file says of images that may be fewer than its batch."""
        count = len(images)
        if batch is not None and count < batch:
            images = torch.cat((images, images.new_zeros(batch - count, *images.shape[1:])))
        answer = self._run(self._as_input(images)).to(images.device)
        if self.contract.output.layout == "rows":
            return answer[:count]
        return answer[answer[:, 0] < count].clone()

    def _as_input(self, images: Tensor) -> Tensor:
        wanted = self.contract.input
        if wanted.layout == "NHWC":
            images = images.permute(0, 2, 3, 1)
        if wanted.dtype == "uint8":
            images = (images.float() * 255).round().to(torch.uint8)
        return images.to(getattr(torch, wanted.dtype)).contiguous()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: sessions of runtimes cannot be copied."""
        return self


def _as_rows(detections: Tensor, num_images: int, num_classes: int) -> Tensor:
    """Detections (n, 7) of a batch as rows (B, most of an image, 5 + C); those that are none have objectness 0."""
    image = detections[:, 0].long()
    counts = torch.bincount(image, minlength=num_images)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(image), device=image.device) - starts[image]
    rows = detections.new_zeros(num_images, int(counts.max()) if len(counts) else 0, 5 + num_classes)
    lower, upper = detections[:, 1:3], detections[:, 3:5]
    rows[image, place, :2], rows[image, place, 2:4] = (lower + upper) / 2, upper - lower
    rows[image, place, 4] = 1
    rows[image, place, 5 + detections[:, 6].long()] = detections[:, 5]
    return rows
