"""YOLOv5's training augmentation: mosaic, affine, mixup, colour and flips, drawn from one keyed generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.albumentations_list import AlbumentationsList
from yolo_lightning.data.base import DetectionDataset, SampleTransform
from yolo_lightning.data.color import scale_hsv
from yolo_lightning.data.transforms import fitted_size
from yolo_lightning.data.warp import RandomMatrix, draw, keep_boxes, new_canvas, random_matrix, transform_boxes
from yolo_lightning.types import ImageInfo, Sample, SampleKey

__all__ = ["YOLOv5Augmentation"]

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Size = tuple[int, int]


@dataclass
class _Picture:
    """A picture in the making."""

    image: Image
    boxes: Boxes
    labels: Labels


@dataclass(frozen=True)
class _Tile:
    """An image of the data set with its place on a canvas.

    Args:
        index: Position in the data set.
        size: Size (height, width) it has there, in pixels of the canvas.
        left: Its left edge there; may be negative.
        top: Its top edge there; may be negative.
    """

    index: int
    size: Size
    left: int
    top: int


class YOLOv5Augmentation(SampleTransform):
    """Makes training samples with the distributions of YOLOv5; the defaults are its "scratch-low" recipe.

    A sample is, with probability ``mosaic``, four images around a random point of a canvas twice the size, else one
    image fitted to the canvas; then affine or perspective, mixup with another mosaic, colour, flips and the
    ``albumentations`` list. Uncovered pixels are grey (114). Each image is resampled once, straight into the result.

    Random numbers come from ``key.generator()`` in this order: mosaic or not; centre y and x, three further images,
    their order; eight for the matrix (see ``random_matrix``); mixup or not, and if so the other image, its mosaic, the
    weight; hue, saturation and value; flip up-down and left-right; then those of ``albumentations``.

    Args:
        hsv_h: Hue gain in 1 ± hsv_h.
        hsv_s: Saturation gain in 1 ± hsv_s.
        hsv_v: Value gain in 1 ± hsv_v.
        degrees: Rotation in ±degrees.
        translate: Shift in ± fractions of the canvas.
        scale: Size gain in 1 ± scale; below 1.
        shear: Shear in ±degrees.
        perspective: Perspective terms in ± 1/pixel; 0 to 0.001.
        flipud: Probability to swap up and down.
        fliplr: Probability to swap left and right.
        mosaic: Probability of a mosaic of four images.
        mixup: Probability to blend a mosaic with a second one.
        albumentations: Transforms of the Albumentations library, applied last, in order: a list of
            ``{class_path: Blur, init_args: {p: 0.1}}``.

    Raises:
        ValueError: If a number is outside its range, or a transform of ``albumentations`` is unknown.
    """

    def __init__(
        self,
        *,
        hsv_h: float = 0.015,
        hsv_s: float = 0.7,
        hsv_v: float = 0.4,
        degrees: float = 0.0,
        translate: float = 0.1,
        scale: float = 0.5,
        shear: float = 0.0,
        perspective: float = 0.0,
        flipud: float = 0.0,
        fliplr: float = 0.5,
        mosaic: float = 1.0,
        mixup: float = 0.0,
        albumentations: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        _check_range(
            1.0, hsv_h=hsv_h, hsv_s=hsv_s, hsv_v=hsv_v, flipud=flipud, fliplr=fliplr, mosaic=mosaic, mixup=mixup
        )
        _check_range(0.99, scale=scale)
        _check_range(0.01, perspective=perspective)
        _check_range(180.0, degrees=degrees)
        _check_range(89.0, shear=shear)
        _check_range(10.0, translate=translate)
        self.hsv = (hsv_h, hsv_s, hsv_v)
        self.degrees, self.translate, self.scale = degrees, translate, scale
        self.shear, self.perspective = shear, perspective
        self.flipud, self.fliplr = flipud, fliplr
        self.mosaic, self.mixup = mosaic, mixup
        self.albumentations = AlbumentationsList(albumentations)

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        """The augmented sample of ``key``; boxes too small to learn are left out."""
        generator = key.generator()
        if generator.random() < self.mosaic:
            picture = self._mosaic(dataset, key.index, key.canvas, generator)
            if generator.random() < self.mixup:
                other = self._mosaic(dataset, int(generator.integers(len(dataset))), key.canvas, generator)
                picture = _blend(picture, other, generator.beta(32.0, 32.0))
        else:
            picture = self._single(dataset, key.index, key.canvas, generator)
        self._jitter_color(picture, generator)
        self._flip(picture, generator)
        image, boxes, labels = self.albumentations(picture.image, picture.boxes, picture.labels, generator)
        info = ImageInfo(dataset.path(key.index), key.index, dataset.image_size(key.index))
        return Sample(image, boxes, labels, info)

    def _mosaic(self, dataset: DetectionDataset, index: int, size: Size, generator: np.random.Generator) -> _Picture:
        """Four images around a random point, shown through a random matrix."""
        canvas = (2 * size[0], 2 * size[1])
        centre_y, centre_x = (int(generator.uniform(0.5 * side, 1.5 * side)) for side in size)
        indices = [index, *generator.integers(len(dataset), size=3).tolist()]
        tiles = []
        for corner, position in enumerate(generator.permutation(4).tolist()):
            height, width = fitted_size(dataset.image_size(indices[position]), size)
            left = centre_x if corner % 2 else centre_x - width
            top = centre_y if corner >= 2 else centre_y - height
            tiles.append(_Tile(indices[position], (height, width), left, top))
        return _render(dataset, tiles, canvas, size, self._matrix(canvas, size, generator))

    def _single(self, dataset: DetectionDataset, index: int, size: Size, generator: np.random.Generator) -> _Picture:
        """One image in the middle of the canvas, shown through a random matrix."""
        height, width = fitted_size(dataset.image_size(index), size)
        tile = _Tile(index, (height, width), (size[1] - width) // 2, (size[0] - height) // 2)
        return _render(dataset, [tile], size, size, self._matrix(size, size, generator))

    def _matrix(self, source: Size, target: Size, generator: np.random.Generator) -> RandomMatrix:
        return random_matrix(
            generator,
            source,
            target,
            degrees=self.degrees,
            translate=self.translate,
            scale=self.scale,
            shear=self.shear,
            perspective=self.perspective,
        )

    def _jitter_color(self, picture: _Picture, generator: np.random.Generator) -> None:
        hue, saturation, value = (1 + generator.uniform(-1, 1, 3) * self.hsv).tolist()
        if any(self.hsv):
            scale_hsv(picture.image, (hue, saturation, value))

    def _flip(self, picture: _Picture, generator: np.random.Generator) -> None:
        height, width = picture.image.shape[:2]
        upside_down, mirrored = (generator.random(2) < (self.flipud, self.fliplr)).tolist()
        if upside_down:
            cv2.flip(picture.image, 0, dst=picture.image)
            picture.boxes[:, [1, 3]] = height - picture.boxes[:, [3, 1]]
        if mirrored:
            cv2.flip(picture.image, 1, dst=picture.image)
            picture.boxes[:, [0, 2]] = width - picture.boxes[:, [2, 0]]


def _render(
    dataset: DetectionDataset, tiles: Sequence[_Tile], canvas: Size, size: Size, warp: RandomMatrix
) -> _Picture:
    """What ``warp`` shows of tiles on a canvas: a picture of ``size`` with the boxes that remain."""
    image = new_canvas(size)
    boxes, labels = [], []
    for tile in tiles:
        _draw_tile(dataset, tile, canvas, warp, image)
        tile_boxes, tile_labels = dataset.annotations(tile.index)
        boxes.append(_tile_boxes(dataset, tile, tile_boxes))
        labels.append(tile_labels)
    height, width = canvas
    before = np.clip(np.concatenate(boxes), 0, (width, height, width, height)).astype(np.float32)
    after = transform_boxes(before, warp.matrix, size)
    keep = keep_boxes(before, after, warp.gain)
    return _Picture(image, after[keep], np.concatenate(labels)[keep])


def _tile_boxes(dataset: DetectionDataset, tile: _Tile, boxes: Boxes) -> Boxes:
    """Boxes of the original image as pixels of the canvas."""
    height, width = dataset.image_size(tile.index)
    scale_y, scale_x = tile.size[0] / height, tile.size[1] / width
    moved: Boxes = boxes * (scale_x, scale_y, scale_x, scale_y) + (tile.left, tile.top, tile.left, tile.top)
    return moved


def _draw_tile(dataset: DetectionDataset, tile: _Tile, canvas: Size, warp: RandomMatrix, out: Image) -> None:
    """Draws the part of a tile that lies on the canvas."""
    image = _read(dataset, tile)
    scale_y, scale_x = tile.size[0] / image.shape[0], tile.size[1] / image.shape[1]
    place = np.array([[scale_x, 0, tile.left], [0, scale_y, tile.top], [0, 0, 1]])
    visible = (
        max(0, -tile.left) / scale_x,
        max(0, -tile.top) / scale_y,
        min(tile.size[1], canvas[1] - tile.left) / scale_x,
        min(tile.size[0], canvas[0] - tile.top) / scale_y,
    )
    draw(image, warp.matrix @ place, visible, out)


def _read(dataset: DetectionDataset, tile: _Tile) -> Image:
    """An image of the tile's size or up to twice as large: more would alias, as it is resampled bilinearly."""
    image = dataset.read_image(tile.index, max(tile.size))
    factor = min(image.shape[0] // tile.size[0], image.shape[1] // tile.size[1])
    if factor < 2:
        return image
    size_wh = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _blend(first: _Picture, second: _Picture, weight: float) -> _Picture:
    """Mixup: a weighted mean of the pictures with the boxes of both."""
    image = cv2.addWeighted(first.image, weight, second.image, 1 - weight, 0).astype(np.uint8, copy=False)
    boxes = np.concatenate([first.boxes, second.boxes])
    return _Picture(image, boxes, np.concatenate([first.labels, second.labels]))


def _check_range(limit: float, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= limit:
            raise ValueError(f"{name} is {value}; it must lie in 0…{limit:g}")
