"""Pictures of simple shapes, drawn on demand: a data set that needs no files."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.base import DetectionDataset

__all__ = ["SyntheticShapes"]

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

_SPLITS = ("train", "val", "test")
_SHIFT = 4  # OpenCV takes sub-pixel points as whole numbers of 1/16 pixel


def _star(num_points: int, inner: float) -> Points:
    """Corners at radius 1 and ``inner`` by turns, the first at the top."""
    angles = [pi * step / num_points - pi / 2 for step in range(2 * num_points)]
    return np.array(
        [
            [cos(angle), sin(angle)] if step % 2 == 0 else [inner * cos(angle), inner * sin(angle)]
            for step, angle in enumerate(angles)
        ]
    )


def _regular(num_corners: int, turn: float = 0.0) -> Points:
    """Corners at radius 1, the first at the top or ``turn`` radians from it."""
    angles = [2 * pi * step / num_corners - pi / 2 + turn for step in range(num_corners)]
    return np.array([[cos(angle), sin(angle)] for angle in angles])


def _cross(half_width: float) -> Points:
    """A plus sign in the unit circle."""
    length = (1 - half_width**2) ** 0.5
    arm = [[-half_width, -length], [half_width, -length], [half_width, -half_width]]
    turns = [np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]]) for angle in (0, pi / 2, pi, 3 * pi / 2)]
    return np.concatenate([np.array(arm) @ turn.T for turn in turns])


# Outlines in the unit circle; what each is drawn from is its class.
_OUTLINES = {
    "circle": _regular(64),
    "square": _regular(4, pi / 4),
    "triangle": _regular(3),
    "star": _star(5, 0.45),
    "cross": _cross(0.3),
}


@dataclass(frozen=True)
class _Shape:
    """One object: its class, its corners in pixels and its colour."""

    label: int
    points: Points
    color: tuple[int, int, int]

    @property
    def box(self) -> npt.NDArray[np.float64]:
        return np.concatenate([self.points.min(0), self.points.max(0)])


class SyntheticShapes(DetectionDataset):
    """Circles, squares, triangles, stars and crosses of several sizes and colours on textured backgrounds.

    Every image is drawn when it is read, from a generator keyed by (seed, split, index): nothing is stored, and the
    same arguments give the same pixels anywhere. Boxes are tight and exact; objects overlap little.

    Args:
        path: Ignored; a data set of files has its path here.
        split: ``train``, ``val`` or ``test``; their images differ.
        num_train_images: Number of images of the split ``train``.
        num_val_images: Number of images of the split ``val``.
        num_test_images: Number of images of the split ``test``.
        image_size: Size of the images, (height, width) or one number for both, in pixels.
        num_objects: Fewest and most objects in an image; a crowded image may get fewer.
        object_size: Smallest and largest diameter, as fractions of the image's shorter side.
        outlines: Whether objects are labelled by their outlines besides their boxes.
        seed: Another seed gives other images.

    Raises:
        ValueError: If ``split`` is none of the three, or a number makes no sense.
    """

    class_names = tuple(_OUTLINES)

    def __init__(
        self,
        path: Path | None = None,
        split: str = "train",
        *,
        num_train_images: int = 512,
        num_val_images: int = 128,
        num_test_images: int = 128,
        image_size: int | tuple[int, int] = 160,
        num_objects: tuple[int, int] = (1, 5),
        object_size: tuple[float, float] = (0.18, 0.5),
        outlines: bool = False,
        seed: int = 0,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"SyntheticShapes has no split {split!r}; it has {', '.join(_SPLITS)}")
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(size) < 32:
            raise ValueError(f"image_size is {image_size}; shapes need at least 32 pixels a side")
        if not 0 < object_size[0] <= object_size[1] <= 1:
            raise ValueError(f"object_size is {object_size}; it must be two ascending fractions in 0…1")
        if not 0 <= num_objects[0] <= num_objects[1]:
            raise ValueError(f"num_objects is {num_objects}; it must be two ascending counts")
        self.split, self.seed, self.size = split, seed, size
        self.num_objects, self.object_size = num_objects, object_size
        self.has_outlines = outlines
        self.num_images = (num_train_images, num_val_images, num_test_images)[_SPLITS.index(split)]
        self._known: dict[int, tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Number of images of the split."""
        return self.num_images

    def path(self, index: int) -> str:
        """A name that holds all but the sizes."""
        return f"shapes-{self.seed}-{self.split}-{self._check(index):05}"

    def image_size(self, index: int) -> tuple[int, int]:
        """The same for all images."""
        self._check(index)
        return self.size

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels, and labels (n,)."""
        if index not in self._known:
            shapes = self._shapes(self._generator(index))
            boxes = np.array([shape.box for shape in shapes], np.float32).reshape(-1, 4)
            self._known[index] = boxes, np.array([shape.label for shape in shapes], np.int64)
        return self._known[index]

    def outlines(self, index: int) -> list[npt.NDArray[np.float32]]:
        """Corners (k, 2) xy in pixels of each shape; empty (0, 2) unless the argument ``outlines`` was set."""
        if not self.has_outlines:
            return super().outlines(index)
        return [shape.points.astype(np.float32) for shape in self._shapes(self._generator(index))]

    def read_image(self, index: int, long_side: int | None = None) -> Image:
        """Draws the image, always at its full size."""
        generator = self._generator(index)
        shapes = self._shapes(generator)
        image = _background(self.size, generator)
        for shape in shapes:
            _paint(image, shape)
        return _grain(image, generator)

    def _check(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return index

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, _SPLITS.index(self.split), self._check(index)))

    def _shapes(self, generator: np.random.Generator) -> list[_Shape]:
        """The objects of an image, each with little of another under it."""
        shapes: list[_Shape] = []
        count = int(generator.integers(self.num_objects[0], self.num_objects[1] + 1))
        for _ in range(4 * count):
            candidate = self._shape(generator)
            if all(_overlap(candidate.box, shape.box) < 0.1 for shape in shapes):
                shapes.append(candidate)
            if len(shapes) == count:
                break
        return shapes

    def _shape(self, generator: np.random.Generator) -> _Shape:
        """One object, wholly inside the image."""
        label = int(generator.integers(len(_OUTLINES)))
        diameter = min(self.size) * np.exp(generator.uniform(*np.log(self.object_size)))
        angle = generator.uniform(-0.5, 0.5)
        turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        outline = list(_OUTLINES.values())[label] @ turn.T
        low, high = outline.min(0), outline.max(0)
        points = (outline - low) * diameter / (high - low).max()
        free = np.array([self.size[1], self.size[0]]) - points.max(0)
        return _Shape(label, points + generator.uniform(0, 1, 2) * free, _vivid(generator))


def _vivid(generator: np.random.Generator) -> tuple[int, int, int]:
    """A strong colour of any hue, dark or bright."""
    hsv = np.array([[[generator.integers(180), generator.integers(150, 256), generator.integers(140, 256)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _overlap(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Common area over the smaller area."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return float(np.prod(np.maximum(sides, 0))) / smaller


def _background(size: tuple[int, int], generator: np.random.Generator) -> Image:
    """Soft clouds of one muted colour."""
    grid = generator.uniform(-28, 28, (int(generator.integers(3, 9)), int(generator.integers(3, 9)), 3))
    grid += generator.uniform(60, 190) + generator.uniform(-18, 18, 3)
    clouds = cv2.resize(grid.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(clouds, 0, 255).astype(np.uint8)


def _paint(image: Image, shape: _Shape) -> None:
    """Fills a shape with smooth edges and a darker rim inside them."""
    red, green, blue = shape.color
    centre = shape.points.mean(0)
    _fill(image, shape.points, (round(red * 0.6), round(green * 0.6), round(blue * 0.6)))
    _fill(image, centre + (shape.points - centre) * 0.84, shape.color)


def _fill(image: Image, points: Points, color: tuple[int, int, int]) -> None:
    # OpenCV paints half a pixel beyond an outline; and a point of it is a pixel's centre, half a pixel from the corner.
    low, high = points.min(0), points.max(0)
    inset = (points - low) * (1 - 1 / np.maximum(high - low, 1)) + low + 0.5
    corners = np.round((inset - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(image, [corners], color, cv2.LINE_AA, _SHIFT)


def _grain(image: Image, generator: np.random.Generator) -> Image:
    """Adds fine noise, as of a camera."""
    noise = generator.integers(0, 16, image.shape[:2], np.uint8)
    return np.asarray(cv2.add(image, cv2.merge([noise] * 3)), np.uint8)
