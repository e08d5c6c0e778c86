"""YOLOv5's training augmentation: mosaic, affine, mixup, colour and flips, drawn from one keyed generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from yolo_lightning.data.albumentations_list import AlbumentationsList
from yolo_lightning.data.base import DetectionDataset, SampleTransform
from yolo_lightning.data.color import scale_hsv
from yolo_lightning.data.copy_paste import paste_mirrored
from yolo_lightning.data.mosaic import draw_others, four_tiles, nine_tiles, single_tile
from yolo_lightning.data.tiles import Picture, locate, render
from yolo_lightning.data.warp import RandomMatrix, random_matrix
from yolo_lightning.types import ImageInfo, Sample, SampleKey

__all__ = ["YOLOv5Augmentation"]

Size = tuple[int, int]


class YOLOv5Augmentation(SampleTransform):
    """Makes training samples with the distributions of YOLOv5; the defaults are its "scratch-low" recipe.

    A sample is, with probability ``mosaic``, four images around a random point of a canvas twice the size (or nine, of
    which such a canvas is cut), else one image fitted to the canvas; then copy-paste, affine or perspective, mixup with
    another mosaic, colour, flips and the ``albumentations`` list. Copy-paste and mixup are for mosaics only. A key with
    ``mosaic=False`` gives a sample of its own image alone. Uncovered pixels are grey (114). Each image is resampled
    once, straight into the result.

    The box of an object whose outline is known is drawn around what is seen of the outline; without one it is drawn
    around the moved corners of the box, which is too large once it is turned.

    Random numbers come from ``key.generator()`` in this order: mosaic or not; the mosaic (if ``mosaic9`` is not 0, four
    or nine; centre or window y and x; three or eight further images, their order; if ``copy_paste`` copies any, which
    objects; eight for the matrix, see ``random_matrix``); mixup or not, and if so the other image, its mosaic, the
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
        mosaic9: Probability that a mosaic has nine images instead of four.
        mixup: Probability to blend a mosaic with a second one.
        copy_paste: Share of the objects in a mosaic to copy, mirrored, to its other side; only objects labelled by
            polygons can be copied.
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
        mosaic9: float = 0.0,
        mixup: float = 0.0,
        copy_paste: float = 0.0,
        albumentations: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        _check_range(1.0, hsv_h=hsv_h, hsv_s=hsv_s, hsv_v=hsv_v, flipud=flipud, fliplr=fliplr)
        _check_range(1.0, mosaic=mosaic, mosaic9=mosaic9, mixup=mixup, copy_paste=copy_paste)
        _check_range(0.99, scale=scale)
        _check_range(0.01, perspective=perspective)
        _check_range(180.0, degrees=degrees)
        _check_range(89.0, shear=shear)
        _check_range(10.0, translate=translate)
        self.hsv = (hsv_h, hsv_s, hsv_v)
        self.degrees, self.translate, self.scale = degrees, translate, scale
        self.shear, self.perspective = shear, perspective
        self.flipud, self.fliplr = flipud, fliplr
        self.mosaic, self.mosaic9 = mosaic, mosaic9
        self.mixup, self.copy_paste = mixup, copy_paste
        self.albumentations = AlbumentationsList(albumentations)

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        """The augmented sample of ``key``; boxes too small to learn are left out."""
        generator = key.generator()
        if generator.random() < self.mosaic and key.mosaic:
            picture = self._mosaic(dataset, key.index, key, generator)
            if generator.random() < self.mixup:
                (index,) = draw_others(dataset, 1, generator, key.pool)
                picture = _blend(picture, self._mosaic(dataset, index, key, generator), generator.beta(32.0, 32.0))
        else:
            picture = self._single(dataset, key.index, key.canvas, generator)
        self._jitter_color(picture, generator)
        self._flip(picture, generator)
        image, boxes, labels = self.albumentations(picture.image, picture.boxes, picture.labels, generator)
        info = ImageInfo(dataset.path(key.index), key.index, dataset.image_size(key.index))
        return Sample(image, boxes, labels, info)

    def _mosaic(self, dataset: DetectionDataset, index: int, key: SampleKey, generator: np.random.Generator) -> Picture:
        """Four or nine images, shown through a random matrix."""
        size = key.canvas
        canvas = (2 * size[0], 2 * size[1])
        layout = nine_tiles if self.mosaic9 and generator.random() < self.mosaic9 else four_tiles
        tiles = layout(dataset, index, size, generator, key.pool)
        objects = locate(dataset, tiles, canvas)
        if self.copy_paste:
            objects = paste_mirrored(objects, canvas[1], self.copy_paste, generator)
        return render(dataset, tiles, objects, canvas, size, self._matrix(canvas, size, generator))

    def _single(self, dataset: DetectionDataset, index: int, size: Size, generator: np.random.Generator) -> Picture:
        """One image in the middle of the canvas, shown through a random matrix."""
        tiles = [single_tile(dataset, index, size)]
        return render(dataset, tiles, locate(dataset, tiles, size), size, size, self._matrix(size, size, generator))

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

    def _jitter_color(self, picture: Picture, generator: np.random.Generator) -> None:
        hue, saturation, value = (1 + generator.uniform(-1, 1, 3) * self.hsv).tolist()
        if any(self.hsv):
            scale_hsv(picture.image, (hue, saturation, value))

    def _flip(self, picture: Picture, generator: np.random.Generator) -> None:
        height, width = picture.image.shape[:2]
        upside_down, mirrored = (generator.random(2) < (self.flipud, self.fliplr)).tolist()
        if upside_down:
            cv2.flip(picture.image, 0, dst=picture.image)
            picture.boxes[:, [1, 3]] = height - picture.boxes[:, [3, 1]]
        if mirrored:
            cv2.flip(picture.image, 1, dst=picture.image)
            picture.boxes[:, [0, 2]] = width - picture.boxes[:, [2, 0]]


def _blend(first: Picture, second: Picture, weight: float) -> Picture:
    """Mixup: a weighted mean of the pictures with the boxes of both."""
    image = cv2.addWeighted(first.image, weight, second.image, 1 - weight, 0).astype(np.uint8, copy=False)
    boxes = np.concatenate([first.boxes, second.boxes])
    return Picture(image, boxes, np.concatenate([first.labels, second.labels]))


def _check_range(limit: float, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= limit:
            raise ValueError(f"{name} is {value}; it must lie in 0…{limit:g}")
