"""How quickly a training sample is made: ours beside a plain one, in one run on one thread.

The plain sample is what one writes first: resize four images, paste them on a canvas of twice the size, warp the
canvas, jitter the colour, flip; its boxes take the same way. Both draw from the same distributions.

    python benchmarks/loader.py [data.yaml]

Without a data set it writes one of 640 × 480 JPEGs to a temporary folder.
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
from yolo_lightning.data.cache import CachedImages
from yolo_lightning.data.datasets import YOLODataset
from yolo_lightning.data.synthetic import SyntheticShapes
from yolo_lightning.types import SampleKey

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Sampler = Callable[[int], object]

NUM_ROUNDS = 5
NUM_WARM_UP = 16


class PlainSample:
    """Mosaic, affine, colour and flip in plain steps."""

    def __init__(self, dataset: DetectionDataset, size: int, cached: bool) -> None:
        self.dataset, self.size, self.cached = dataset, size, cached
        self.boxes = [dataset.annotations(index)[0] for index in range(len(dataset))]
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
        if self.cached:
            return self.dataset.read_image(index, self.size)
        image = np.asarray(cv2.imread(self.dataset.path(index)), np.uint8)
        ratio = self.size / max(image.shape[:2])
        if ratio == 1:
            return image
        size_wh = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
        return np.asarray(cv2.resize(image, size_wh), np.uint8)

    def _paste(self, canvas: Image, index: int, corner: int, centre_y: int, centre_x: int) -> Boxes:
        image, side = self._read(index), 2 * self.size
        height, width = image.shape[:2]
        left = centre_x if corner % 2 else centre_x - width
        top = centre_y if corner >= 2 else centre_y - height
        x1, y1, x2, y2 = max(0, left), max(0, top), min(side, left + width), min(side, top + height)
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
        ratio = width / self.dataset.image_size(index)[1]
        moved: Boxes = np.clip(self.boxes[index] * ratio + [left, top, left, top], 0, side)
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


def write_dataset(folder: Path, num_images: int = 64) -> Path:
    """Writes JPEGs of 640 × 480 pixels and labels in YOLO form; returns the ``data.yaml``."""
    source = SyntheticShapes(num_train_images=num_images, image_size=(480, 640))
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for index in range(num_images):
        image = cv2.cvtColor(source.read_image(index), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / f"{index:04}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        boxes, labels = source.annotations(index)
        rows = np.column_stack([labels, (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])
        rows[:, 1:] /= (640, 480, 640, 480)
        np.savetxt(folder / "labels" / f"{index:04}.txt", rows, fmt=["%d", *["%.6f"] * 4])
    config = folder / "data.yaml"
    config.write_text(f"train: images\nval: images\nnames: [{', '.join(source.class_names)}]\n")
    return config


def rate(sample: Sampler, num_images: int, num_samples: int) -> float:
    """Samples per second over ``num_samples``."""
    start = time.perf_counter()
    for number in range(num_samples):
        sample(number % num_images)
    return num_samples / (time.perf_counter() - start)


def compare(data: Path, size: int, cached: bool, num_samples: int) -> tuple[float, float, float]:
    """Medians of our rate, the plain rate and their ratio round by round."""
    dataset: DetectionDataset = YOLODataset(data, "train", progress=False)
    if cached:
        dataset = CachedImages(dataset, (size, size))
        for index in range(len(dataset)):
            dataset.read_image(index, size)
    transform, plain = YOLOv5Augmentation(), PlainSample(dataset, size, cached)

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
    parser.add_argument("data", nargs="?", type=Path, help="data.yaml of a data set in YOLO form")
    parser.add_argument("--num-samples", type=int, default=200, help="samples of a round")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or write_dataset(Path(scratch))
        print(f"OpenCV {cv2.__version__}, one thread; {NUM_ROUNDS} rounds of {arguments.num_samples}, medians")
        print(f"{'size':>5} {'images':>9} {'plain/s':>9} {'ours/s':>9} {'ratio':>6} {'reach':>6}")
        for size, cached, reach in ((640, True, 1.5), (640, False, 1.4), (320, True, 1.1), (320, False, 1.25)):
            mine, other, ratio = compare(data, size, cached, arguments.num_samples)
            kind = "cached" if cached else "decoding"
            print(f"{size:>5} {kind:>9} {other:>9.0f} {mine:>9.0f} {ratio:>6.2f} {reach:>6}")


if __name__ == "__main__":
    main()
