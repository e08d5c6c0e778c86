"""How quickly a training sample is made: ours beside a plain one, in one run on one thread.

The plain sample is what one writes first: resize four images, paste them on a canvas of twice the size, warp the
canvas, jitter the colour, flip; its boxes take the same way. Both draw from the same distributions.

    python benchmarks/loader.py [folder of images with a labels folder beside it]

Without a folder it writes photo-like JPEGs of 640 × 480 pixels to a temporary one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.images import decode_image
from yolo_lightning.data.synthetic import SyntheticShapes
from yolo_lightning.types import SampleKey

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Sampler = Callable[[int], object]

NUM_ROUNDS = 5
NUM_WARM_UP = 16


class Photos(DetectionDataset):
    """Images of a folder, decoded on every access or kept at ``cached_size``."""

    class_names = ("object",)

    def __init__(self, folder: Path, cached_size: int | None = None) -> None:
        self.files = sorted(file for file in folder.iterdir() if file.suffix in {".jpg", ".jpeg", ".png"})
        self.sizes: list[tuple[int, int]] = []
        self.boxes: list[Boxes] = []
        self.cache: list[Image] = []
        for index, file in enumerate(self.files):
            image = self._decode(index, 1)
            self.sizes.append((image.shape[0], image.shape[1]))
            self.boxes.append(_read_boxes(folder.parent / "labels" / f"{file.stem}.txt", self.sizes[-1]))
            if cached_size is not None:
                self.cache.append(_resize(image, cached_size))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def path(self, index: int) -> str:
        """The file."""
        return str(self.files[index])

    def image_size(self, index: int) -> tuple[int, int]:
        """As decoded."""
        return self.sizes[index]

    def annotations(self, index: int) -> tuple[Boxes, Labels]:
        """Boxes of one class."""
        boxes = self.boxes[index]
        return boxes, np.zeros(len(boxes), np.int64)

    def read_image(self, index: int, long_side: int | None = None) -> Image:
        """The cached image, or the file decoded at a half, quarter or eighth if that suffices."""
        if self.cache:
            return self.cache[index]
        surplus = 1 if long_side is None else max(self.sizes[index]) // long_side
        return self._decode(index, max(factor for factor in (1, 2, 4, 8) if factor <= max(1, surplus)))

    def _decode(self, index: int, reduction: int) -> Image:
        image = decode_image(np.fromfile(self.files[index], np.uint8), reduction)
        if image is None:
            raise ValueError(f"{self.files[index]} cannot be decoded")
        return image


class PlainSample:
    """Mosaic, affine, colour and flip in plain steps."""

    def __init__(self, dataset: Photos, size: int) -> None:
        self.dataset, self.size = dataset, size
        self.generator = np.random.default_rng(0)

    def __call__(self, index: int) -> tuple[Image, Boxes]:
        """The image and its boxes."""
        size, draw = self.size, self.generator
        canvas = np.full((2 * size, 2 * size, 3), 114, np.uint8)
        centre_y, centre_x = (int(draw.uniform(0.5 * size, 1.5 * size)) for _ in range(2))
        indices = [index, *draw.integers(len(self.dataset), size=3).tolist()]
        draw.shuffle(indices)
        boxes = np.concatenate(
            [self._paste(canvas, number, corner, centre_y, centre_x) for corner, number in enumerate(indices)]
        )
        gain, centre = draw.uniform(0.5, 1.5), draw.uniform(0.4, 0.6, 2) * size
        offset = centre - gain * size
        matrix = np.array([[gain, 0, offset[0]], [0, gain, offset[1]]])
        image = np.asarray(cv2.warpAffine(canvas, matrix, (size, size), borderValue=(114, 114, 114)), np.uint8)
        moved = np.clip(boxes * gain + np.tile(offset, 2), 0, size)
        sides, sides_before = moved[:, 2:] - moved[:, :2], (boxes[:, 2:] - boxes[:, :2]) * gain
        keep = (sides > 2).all(1) & (sides.prod(1) > 0.1 * sides_before.prod(1))
        image, boxes = self._jitter(image), moved[keep]
        if draw.random() < 0.5:
            image = np.ascontiguousarray(np.fliplr(image))
            boxes[:, [0, 2]] = size - boxes[:, [2, 0]]
        return image, boxes

    def _read(self, index: int) -> Image:
        if self.dataset.cache:
            return self.dataset.cache[index]
        image = cv2.imread(str(self.dataset.files[index]))
        assert image is not None
        return _resize(np.asarray(image, np.uint8), self.size, cv2.INTER_LINEAR)

    def _paste(self, canvas: Image, index: int, corner: int, centre_y: int, centre_x: int) -> Boxes:
        image, side = self._read(index), 2 * self.size
        height, width = image.shape[:2]
        left = centre_x if corner % 2 else centre_x - width
        top = centre_y if corner >= 2 else centre_y - height
        x1, y1, x2, y2 = max(0, left), max(0, top), min(side, left + width), min(side, top + height)
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
        ratio = width / self.dataset.sizes[index][1]
        moved: Boxes = np.clip(self.dataset.boxes[index] * ratio + [left, top, left, top], 0, side)
        return moved

    def _jitter(self, image: Image) -> Image:
        gains = 1 + self.generator.uniform(-1, 1, 3) * (0.015, 0.7, 0.4)
        hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
        levels = np.arange(256)
        tables = [levels * gains[0] % 180, np.clip(levels * gains[1], 0, 255), np.clip(levels * gains[2], 0, 255)]
        planes = [
            cv2.LUT(plane, table.astype(np.uint8))
            for plane, table in zip((hue, saturation, value), tables, strict=True)
        ]
        return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB), np.uint8)


def _resize(image: Image, size: int, interpolation: int = cv2.INTER_AREA) -> Image:
    ratio = size / max(image.shape[:2])
    if ratio == 1:
        return image
    size_wh = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
    return np.asarray(cv2.resize(image, size_wh, interpolation=interpolation), np.uint8)


def _read_boxes(file: Path, size: tuple[int, int]) -> Boxes:
    """Boxes of a YOLO label file in pixels; none if there is no file."""
    if not file.is_file() or not file.stat().st_size:
        return np.zeros((0, 4), np.float32)
    boxes_cxcywh = np.loadtxt(file, ndmin=2)[:, 1:5] * (size[1], size[0], size[1], size[0])
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def write_photos(folder: Path, num_images: int = 64) -> Path:
    """Writes JPEGs and labels to look like a data set; returns the folder of the images."""
    source = SyntheticShapes(num_train_images=num_images, image_size=(480, 640))
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for index in range(num_images):
        image = source.read_image(index)
        cv2.imwrite(str(folder / "images" / f"{index:04}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        boxes = source.annotations(index)[0] / (640, 480, 640, 480)
        rows = [f"0 {(a + c) / 2:.6f} {(b + d) / 2:.6f} {c - a:.6f} {d - b:.6f}\n" for a, b, c, d in boxes]
        (folder / "labels" / f"{index:04}.txt").write_text("".join(rows))
    return folder / "images"


def rate(sample: Sampler, num_images: int, num_samples: int) -> float:
    """Samples per second over ``num_samples``."""
    start = time.perf_counter()
    for number in range(num_samples):
        sample(number % num_images)
    return num_samples / (time.perf_counter() - start)


def compare(folder: Path, size: int, cached: bool, num_samples: int) -> tuple[float, float, float]:
    """Medians of our rate, the plain rate and their ratio round by round."""
    dataset = Photos(folder, size if cached else None)
    transform, plain = YOLOv5Augmentation(), PlainSample(dataset, size)

    def ours(index: int) -> object:
        return transform(dataset, SampleKey(index, (size, size)))

    for sample in (ours, plain):
        rate(sample, len(dataset), NUM_WARM_UP)
    rounds = [
        (rate(ours, len(dataset), num_samples), rate(plain, len(dataset), num_samples)) for _ in range(NUM_ROUNDS)
    ]
    return (
        statistics.median(mine for mine, _ in rounds),
        statistics.median(other for _, other in rounds),
        statistics.median(mine / other for mine, other in rounds),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Training samples per second, ours and a plain one.")
    parser.add_argument("images", nargs="?", type=Path, help="folder of images; a labels folder may lie beside it")
    parser.add_argument("--num-samples", type=int, default=200, help="samples of a round")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.images or write_photos(Path(scratch))
        print(f"OpenCV {cv2.__version__}, one thread; {NUM_ROUNDS} rounds of {arguments.num_samples}, medians")
        print(f"{'size':>5} {'images':>9} {'plain/s':>9} {'ours/s':>9} {'ratio':>6} {'reach':>6}")
        for size, cached, reach in ((640, True, 1.5), (640, False, 1.4), (320, True, 1.1), (320, False, 1.25)):
            mine, other, ratio = compare(folder, size, cached, arguments.num_samples)
            kind = "cached" if cached else "decoding"
            print(f"{size:>5} {kind:>9} {other:>9.0f} {mine:>9.0f} {ratio:>6.2f} {reach:>6}")


if __name__ == "__main__":
    main()
