"""Objects that straddle tiles are found again, as they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from yolo_lightning.models import Detector, Inference, Slices, detector_from_weights
from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

Box = tuple[int, int, int, int]
Object = tuple[Box, int]


def coordinates(height: int, width: int) -> Tensor:
    """An image whose pixels say where they are: x in the first channel, y in the second."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack((x, y, torch.zeros_like(x)))[None]


def exact_detector(
    objects: list[Object],
    shapes: list[tuple[int, ...]] | None = None,
    score: Callable[[int, int], float] | None = None,
    size: tuple[int, int] = (320, 320),
) -> Callable[[Tensor], list[Detections]]:
    """Sees of each object exactly the part that an image shows; reads from the pixels which part of the whole it is."""
    score = score or (lambda number, look: 0.9 - 0.01 * ((7 * number + 3 * look) % 50))
    looks = 0

    def detect(images: Tensor) -> list[Detections]:
        nonlocal looks
        if shapes is not None:
            shapes.append(tuple(images.shape))
        found = []
        for image in images:
            looks += 1
            left, scale_x = _axis(image[0, 0], image[2, 0], size[1])
            top, scale_y = _axis(image[1, :, 0], image[2, :, 0], size[0])
            origin, scale = torch.tensor([left, top] * 2), torch.tensor([scale_x, scale_y] * 2)
            limit = torch.tensor([image.shape[2], image.shape[1]] * 2)
            rows = []
            for number, (box, label) in enumerate(objects):
                part = ((torch.tensor(box) - origin) / scale).clamp(min=torch.zeros(4), max=limit)
                if (part[2:] - part[:2]).min() > 1e-3:
                    rows.append((score(number, looks), part, label))
            rows.sort(key=lambda row: -row[0])
            found.append(
                Detections(
                    torch.stack([part for _, part, _ in rows]) if rows else torch.zeros(0, 4),
                    torch.tensor([value for value, _, _ in rows]),
                    torch.tensor([label for _, _, label in rows], dtype=torch.long),
                )
            )
        return found

    return detect


def _axis(values: Tensor, padding: Tensor, whole: int) -> tuple[float, float]:
    """Where an image starts in the whole, and the size of its pixels there; the whole may be shrunk, and padded."""
    middle = len(values) // 4
    if abs(float(values[middle + 1] - values[middle]) - 1) < 1e-3:
        return float(values[0]), 1.0
    return 0.0, whole / int((padding == 0).sum())


def assert_found(found: Detections, objects: list[Object]) -> None:
    """Each object exactly once, and nothing else."""
    as_rows = sorted(
        (label, *map(round, box)) for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True)
    )
    assert as_rows == sorted((label, *box) for box, label in objects)
    boxes = torch.tensor([box for box, _ in objects]).reshape(-1, 4).float()
    if objects:
        assert float(box_iou(found.boxes, boxes).amax(0).min()) > 0.99
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)


# Tiles of 128 with a fifth shared start at 0, 96 and 192 on 320 pixels.
LAYOUTS: dict[str, list[Object]] = {
    "nothing": [],
    "inside a tile": [((10, 10, 40, 40), 0)],
    "on a border between tiles": [((80, 10, 140, 60), 1)],
    "whole in the shared part": [((100, 100, 124, 120), 0)],
    "on a corner of four tiles": [((90, 85, 140, 150), 0)],
    "larger than the shared part": [((60, 20, 160, 60), 0)],
    "larger than a tile": [((20, 30, 300, 90), 2)],
    "all of the image": [((0, 0, 320, 320), 0)],
    "ends at a border": [((60, 20, 128, 60), 0), ((96, 200, 130, 260), 0)],
    "ends just before a border": [((60, 20, 127, 60), 0), ((98, 200, 130, 260), 0)],
    "one class side by side": [((60, 20, 110, 60), 0), ((110, 20, 150, 60), 0), ((150, 20, 190, 60), 0)],
    "one class above each other on a border": [((90, 20, 140, 60), 0), ((90, 60, 140, 100), 0)],
    "two classes in one place": [((80, 80, 140, 140), 0), ((80, 80, 140, 140), 1)],
    "small before large": [((20, 20, 300, 300), 0), ((100, 110, 140, 150), 0)],
    "large that overlap in a corner": [((0, 0, 126, 126), 0), ((104, 104, 224, 224), 0)],
    "large side by side": [((0, 0, 150, 300), 0), ((150, 0, 320, 300), 0)],
}


@pytest.mark.parametrize("full_image", [True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, full_image: bool):
    objects = LAYOUTS[name]
    slices = Slices(128, 0.2, full_image)
    (found,) = slices(coordinates(320, 320), exact_detector(objects), NMS(), 32)
    assert_found(found, objects)


boxes = st.tuples(*(st.integers(0, 319) for _ in range(4))).map(
    lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]) + 1, max(box[1], box[3]) + 1)
)
small_boxes = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(4, 60), st.integers(4, 60)).map(
    lambda box: (box[0], box[1], min(320, box[0] + box[2]), min(320, box[1] + box[3]))
)


@settings(max_examples=100, deadline=None)
@given(
    objects=st.lists(st.tuples(boxes | small_boxes, st.integers(0, 1)), max_size=8),
    size=st.sampled_from([64, 96, 128, (64, 128), (160, 96), 320, 512]),
    overlap=st.floats(0.1, 0.6),
    full_image=st.booleans(),
    scores=st.randoms(use_true_random=False),
)
def test_objects_that_do_not_overlap_are_found_exactly(objects, size, overlap, full_image, scores):
    for number, (box, label) in enumerate(objects):
        for other, other_label in objects[:number]:
            assume(label != other_label or not _overlap(box, other))
    detect = exact_detector(objects, score=lambda *_: scores.uniform(0.1, 0.9))
    (found,) = Slices(size, overlap, full_image)(coordinates(320, 320), detect, NMS(max_detections=1000), 32)
    assert_found(found, objects)


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    overlap=st.floats(0, 0.95),
)
def test_tiles_cover_the_image(size, tile, overlap):
    size, tile = tuple(32 * side for side in size), tuple(32 * side for side in tile)
    covered = np.zeros(size, bool)
    tiles = Slices(tile, overlap).tiles(size)
    for left, top, right, bottom in tiles:
        assert (bottom - top, right - left) == (min(tile[0], size[0]), min(tile[1], size[1]))
        covered[top:bottom, left:right] = True
    assert covered.all()
    assert len(set(tiles)) == len(tiles)
    for axis in (0, 1):
        sides = sorted({(each[axis], each[axis + 2]) for each in tiles})
        shared = [before[1] - after[0] for before, after in pairwise(sides)]
        assert all(pixels >= overlap * tile[1 - axis] - 1 for pixels in shared)


def test_several_images_go_in_batches():
    objects: list[Object] = [((90, 85, 140, 150), 0), ((20, 30, 300, 90), 1)]
    shapes: list[tuple[int, ...]] = []
    images = coordinates(320, 320).repeat(3, 1, 1, 1)
    found = Slices(128, batch_size=5)(images, exact_detector(objects, shapes), NMS(), 32)
    assert shapes == [(5, 3, 128, 128)] * 5 + [(2, 3, 128, 128), (3, 3, 128, 128)]
    for each in found:
        assert_found(each, objects)


def test_the_shrunk_image_is_padded_to_the_stride():
    shapes: list[tuple[int, ...]] = []
    objects: list[Object] = [((5, 5, 600, 300), 0)]
    (found,) = Slices(128)(coordinates(320, 608), exact_detector(objects, shapes, size=(320, 608)), NMS(), 32)
    assert shapes[-1] == (1, 3, 96, 128)  # 128 / 608 of 320 × 608 is 67 × 128
    assert_found(found, objects)


def test_a_small_image_is_seen_once():
    shapes: list[tuple[int, ...]] = []
    (found,) = Slices(128)(coordinates(96, 128), exact_detector([((3, 4, 50, 60), 0)], shapes), NMS(), 32)
    assert shapes == [(1, 3, 96, 128)]
    assert_found(found, [((3, 4, 50, 60), 0)])


@pytest.mark.parametrize("agnostic", [False, True])
def test_classes_matter_unless_told_otherwise(agnostic: bool):
    """Two tiles take one object for different things."""
    labels = iter([0, 1, 0, 1, 0, 1])

    def detect(images: Tensor) -> list[Detections]:
        found = exact_detector([((96, 20, 124, 60), 0)])(images)
        return [Detections(each.boxes, each.scores, torch.full_like(each.labels, next(labels))) for each in found]

    (found,) = Slices(128, full_image=False)(coordinates(128, 224), detect, NMS(class_agnostic=agnostic), 32)
    assert len(found) == (1 if agnostic else 2)


def test_most_detections_hold_for_the_image():
    objects: list[Object] = [((left, 10, left + 8, 20), 0) for left in range(0, 300, 10)]
    (found,) = Slices(128)(coordinates(320, 320), exact_detector(objects), NMS(max_detections=7), 32)
    assert len(found) == 7


def test_a_remnant_of_a_better_object_goes():
    """The rest of a cut box is in no tile: networks see badly what is cut."""

    def detect(images: Tensor) -> list[Detections]:
        found = []
        for image in images:
            left = int(image[0, 0, 0])
            # whole in the first tile, from 70 to 120; of 96…120 the second sees a sliver less high
            box = [70.0, 20.0, 120.0, 90.0] if left == 0 else [0.0, 50.0, 20.0, 70.0]
            found.append(Detections(torch.tensor([box]), torch.tensor([0.8 - left / 1000]), torch.tensor([0])))
        return found

    (found,) = Slices(128, full_image=False)(coordinates(128, 224), detect, NMS(), 32)
    assert found.boxes.tolist() == [[70, 20, 120, 90]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "positive"),
        ({"size": (640, -32)}, "positive"),
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Slices(**options)


def test_tiles_must_suit_the_stride():
    with pytest.raises(ValueError, match=r"600×640 must be multiples of the stride 32: use 608 640"):
        Slices((600, 640)).check(32)


def test_a_mosaic_of_pictures(shared: Path):
    """What the network sees in pictures alone it sees in a mosaic of them, whose tiles cut every picture."""
    detector, _ = detector_from_weights(shared / "weights" / "yolov5n.pt")
    detector = detector.fuse()
    paths = sorted((shared / "data" / "coco-mini" / "images" / "val").glob("*.jpg"))[:4]
    pictures = [cv2.imread(str(path))[..., ::-1] for path in paths]
    canvas = np.full((1280, 1280, 3), 114, np.uint8)
    nms = NMS(confidence_threshold=0.5, iou_threshold=0.45)
    wanted, labels = [], []
    for picture, (top, left) in zip(pictures, [(0, 0), (0, 640), (640, 0), (640, 640)], strict=True):
        alone = np.full((640, 640, 3), 114, np.uint8)
        alone[: picture.shape[0], : picture.shape[1]] = picture
        canvas[top : top + 640, left : left + 640] = alone
        (found,) = Inference([detector], nms)(_tensor(alone))
        wanted.append(found.boxes + torch.tensor([left, top, left, top]))
        labels.append(found.labels)
    nms = NMS(confidence_threshold=0.25, iou_threshold=0.45)
    (found,) = Inference([detector], nms, slices=Slices(640))(_tensor(canvas))
    same = (box_iou(torch.cat(wanted), found.boxes) > 0.7) & (torch.cat(labels)[:, None] == found.labels)
    assert len(same) >= 4
    assert same.any(1).all()


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def test_detectors_are_seen_through_slices(nano: Detector):
    nano.eval()
    images = torch.rand(2, 3, 96, 96)
    nms = NMS(confidence_threshold=1e-4)
    plain = Inference([nano], nms)(images)
    same = Inference([nano], nms, slices=Slices(96))(images)
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(plain, same, strict=True))
    sliced = Inference([nano], nms, slices=Slices(64))(images)
    assert [len(each) > 0 for each in sliced] == [True, True]
    with pytest.raises(ValueError, match="multiples of the stride 32"):
        Inference([nano], nms, slices=Slices(48))
