"""Sliced inference: a large image is seen in overlapping tiles, and what the tiles show is put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from yolo_lightning.models.stitching import Tile, stitch
from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

__all__ = ["Slices"]

_PADDING = 114 / 255  # the grey of the letterbox


class Slices:
    """Looks at large images in overlapping tiles, so that small objects stay as large as they are.

    Images that are no larger than a tile are seen as a whole. The parts of an object that several tiles show become one
    detection, see :func:`~yolo_lightning.models.stitching.stitch`.

    Args:
        size: Height and width of a tile, or one number for both, in pixels; multiples of the network's stride.
        overlap: Part of a tile that neighbours share at least, 0…1 without 1. Objects that are no larger than the
            shared part are seen whole by some tile.
        full_image: Also look at the whole image, shrunk to the size of a tile, for objects larger than a tile.
        batch_size: Most tiles that the network sees at once.

    Raises:
        ValueError: If a size or the batch size is not positive, or the overlap is outside its range.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 640,
        overlap: float = 0.2,
        full_image: bool = True,
        batch_size: int = 16,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if min(self.size) < 1:
            raise ValueError(f"size of slices must be positive, found {size}")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap of slices must be at least 0 and less than 1, found {overlap}")
        if batch_size < 1:
            raise ValueError(f"batch_size of slices must be at least 1, found {batch_size}")
        self.overlap = overlap
        self.full_image = full_image
        self.batch_size = batch_size

    def check(self, stride: int) -> None:
        """Checks that a network of this stride can see the tiles.

        Raises:
            ValueError: If a side is not a multiple of the stride.
        """
        if any(side % stride for side in self.size):
            height, width = self.size
            better = " ".join(str(math.ceil(side / stride) * stride) for side in self.size)
            raise ValueError(f"slices of {height}×{width} must be multiples of the stride {stride}: use {better}")

    def tiles(self, size: tuple[int, int]) -> list[Tile]:
        """Tiles (left, top, right, bottom) in pixels that cover an image, row by row; equal in size, evenly spread.

        Args:
            size: Height and width of the image.
        """
        (height, tops), (width, lefts) = (
            (min(side, whole), _starts(whole, side, self.overlap)) for side, whole in zip(self.size, size, strict=True)
        )
        return [(left, top, left + width, top + height) for top in tops for left in lefts]

    def __call__(
        self, images: Tensor, detect: Callable[[Tensor], list[Detections]], postprocess: NMS, stride: int
    ) -> list[Detections]:
        """Detects in a batch of images.

        Args:
            images: (B, C, H, W) floating point in 0…1; sides are multiples of ``stride``.
            detect: Detects in a batch of images no larger than a tile, in pixels of these.
            postprocess: The suppression that ``detect`` does within a tile; what it calls one object is one object
                among the tiles, too.
            stride: Number of which the sides of images must be multiples.

        Returns:
            One for each image, boxes in its pixels, by descending score.
        """
        size = (images.shape[-2], images.shape[-1])
        tiles = self.tiles(size)
        if len(tiles) == 1:
            return detect(images)
        found = self._detect_tiles(images, tiles, detect)
        if self.full_image:
            tiles.append((0, 0, size[1], size[0]))
            for own, whole in zip(found, self._detect_whole(images, detect, stride), strict=True):
                own.append(whole)
        return [stitch(own, tiles, size, postprocess) for own in found]

    def _detect_tiles(
        self, images: Tensor, tiles: Sequence[Tile], detect: Callable[[Tensor], list[Detections]]
    ) -> list[list[Detections]]:
        """Detections of each image in each tile, in pixels of the image."""
        pairs = [(image, tile) for image in range(len(images)) for tile in tiles]
        found: list[list[Detections]] = [[] for _ in images]
        for first in range(0, len(pairs), self.batch_size):
            chosen = pairs[first : first + self.batch_size]
            crops = [images[image, :, top:bottom, left:right] for image, (left, top, right, bottom) in chosen]
            for (image, (left, top, _, _)), seen in zip(chosen, detect(_stack(crops, images)), strict=True):
                offset = seen.boxes.new_tensor([left, top, left, top])
                found[image].append(Detections(seen.boxes + offset, seen.scores, seen.labels))
        return found

    def _detect_whole(
        self, images: Tensor, detect: Callable[[Tensor], list[Detections]], stride: int
    ) -> list[Detections]:
        """Detections in each image shrunk to the size of a tile, in pixels of the image."""
        height, width = images.shape[-2:]
        scale = min(self.size[0] / height, self.size[1] / width)
        small = max(1, round(height * scale)), max(1, round(width * scale))
        shrunk = functional.interpolate(images.float(), small, mode="bilinear", antialias=True).to(images.dtype)
        padding = (0, -small[1] % stride, 0, -small[0] % stride)
        shrunk = functional.pad(shrunk, padding, value=_PADDING)
        found = [each for batch in torch.split(shrunk, self.batch_size) for each in detect(batch)]
        horizontal, vertical = width / small[1], height / small[0]
        factor = shrunk.new_tensor([horizontal, vertical, horizontal, vertical], dtype=torch.float32)
        return [Detections(each.boxes * factor, each.scores, each.labels) for each in found]


def _starts(whole: int, side: int, overlap: float) -> list[int]:
    """Where tiles start along a side of an image, evenly from one border to the other."""
    rest = whole - side
    if rest <= 0:
        return [0]
    steps = math.ceil(rest / max(1, math.floor(side * (1 - overlap))))
    return [round(rest * step / steps) for step in range(steps + 1)]


def _stack(crops: Sequence[Tensor], images: Tensor) -> Tensor:
    """Crops as a batch, in the memory layout of the images."""
    is_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.stack(list(crops)).contiguous(
        memory_format=torch.channels_last if is_last else torch.contiguous_format
    )
