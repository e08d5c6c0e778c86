"""How far exported files are from the network: mAP as ``validate`` has it, and boxes on pictures.

    python benchmarks/export.py WEIGHTS DATA PICTURES [--formats onnx,openvino] [--size 640] [--int8] [--output FOLDER]

DATA is a data.yaml. Each format is exported for images of one size and for any (and once more in 8 bits, if asked for),
without the check of mAP that ``export`` makes. mAP is on the validation images, for files of one size on squares; the
network's is on the same canvases. Boxes are what ``load`` finds in the pictures at its default thresholds, on canvases
that are alike for both. Files stay in FOLDER.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from yolo_lightning.data import SyntheticShapes
from yolo_lightning.data.transforms import letterbox
from yolo_lightning.export import FORMATS, ExportOptions, export_network
from yolo_lightning.inference import Predictor, load
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.sources import parse_sources
from yolo_lightning.models import Detector, detector_from_weights
from yolo_lightning.runtimes import RUNTIMES, load_exported
from yolo_lightning.tools.evaluation import evaluate_network
from yolo_lightning.tools.export_images import calibration_batches, fitted_images
from yolo_lightning.types import Detections

__all__ = ["main"]

Pictures = Sequence[npt.NDArray[np.uint8]]


class Kind(NamedTuple):
    """A file to be made."""

    format: str
    dynamic: bool
    int8: bool = False

    @property
    def path(self) -> Path:
        """What it is called."""
        mark = f"{'dynamic' if self.dynamic else 'static'}{'-int8' if self.int8 else ''}"
        return Path(f"{mark}{FORMATS[self.format].suffix}")


class Distance(NamedTuple):
    """How far two lists of detections are from each other."""

    found: int
    wanted: int
    box: float
    score: float


def kinds(formats: Sequence[str], int8: bool) -> Iterator[Kind]:
    """The files that these formats can be, and that can be run here."""
    for name in formats:
        abilities = FORMATS[name].abilities
        if name in RUNTIMES:
            yield from (Kind(name, dynamic) for dynamic in (False, True) if not dynamic or "dynamic" in abilities)
            if int8 and "int8" in abilities:
                yield Kind(name, False, int8=True)


def export(detector: Detector, names: Sequence[str], kind: Kind, folder: Path, size: int, data: Path) -> Path:
    """Makes a file."""
    path = folder / kind.path
    options = ExportOptions((size, size), dynamic=kind.dynamic, int8=kind.int8)
    shapes = SyntheticShapes(split="val", num_val_images=1, image_size=(size, size))
    images = torch.from_numpy(fitted_images(shapes, [0], (size, size)))

    def calibration() -> Iterator[npt.NDArray[np.uint8]]:
        return calibration_batches(data, 100, (size, size), 1)

    export_network(detector, names, kind.format, path, options, images=images, calibration=calibration, overwrite=True)
    return path


def distance(found: Sequence[Detections], wanted: Sequence[Detections]) -> Distance:
    """Each detection that is wanted with the nearest of its class."""
    box = score = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        for corners, confidence, label in zip(theirs.boxes, theirs.scores, theirs.labels, strict=True):
            alike = ours.labels == label
            if not alike.any():
                box = score = float("inf")
                continue
            apart = (ours.boxes[alike] - corners).abs().amax(-1)
            nearest = int(apart.argmin())
            box = max(box, float(apart[nearest]))
            score = max(score, float((ours.scores[alike][nearest] - confidence).abs()))
    return Distance(sum(map(len, found)), sum(map(len, wanted)), box, score)


def read_pictures(folder: Path) -> Pictures:
    """All pictures of a folder."""
    frames = (event for source in parse_sources([folder]) for event in source)
    return [frame.image for frame in frames if isinstance(frame, Frame)]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    detector, names = detector_from_weights(options.weights)
    names = names or tuple(f"class{index}" for index in range(detector.num_classes))
    detector.eval()
    plain = Predictor(detector, names, device="cpu", size=options.size)
    pictures = read_pictures(options.pictures)
    # Files for one size see all of the square; so must the network.
    squares = [letterbox(picture, (options.size, options.size))[0] for picture in pictures]

    def evaluate(network: Detector, rectangular: bool) -> float:
        size = (options.size, options.size)
        return evaluate_network(network, options.data, image_size=size, rectangular=rectangular)["yolov5_map"]

    wanted = {dynamic: evaluate(detector, rectangular=dynamic) for dynamic in (False, True)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        print(f"{options.weights.name}, {options.size} pixels, {len(pictures)} pictures")
        print("file                         mAP  network's  difference  found by both   boxes    scores")
        for kind in kinds(options.formats.split(","), options.int8):
            path = export(detector, names, kind, folder, options.size, options.data)
            found, network = evaluate(load_exported(path), rectangular=kind.dynamic), wanted[kind.dynamic]
            shown = pictures if kind.dynamic else squares
            exported = load(path, device="cpu", size=options.size)
            apart = distance(exported(shown).detections, plain(shown).detections)
            maps = f"{found:7.5f}  {network:7.5f}    {found - network:+8.5f}"
            boxes = f"{apart.found:6} {apart.wanted:6}  ±{apart.box:.4f}  ±{apart.score:.5f}"
            print(f"{path.name:26} {maps}  {boxes}", flush=True)


if __name__ == "__main__":
    main()
