"""Objects that are copied to the other side."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.make import write_label, write_yaml
from tests.data.pictures import Pictures
from tests.data.test_augment import PLAIN, one_triangle
from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.cache import CachedImages
from yolo_lightning.data.copy_paste import paste_mirrored
from yolo_lightning.data.datasets import YOLODataset
from yolo_lightning.data.synthetic import SyntheticShapes
from yolo_lightning.data.tiles import Objects
from yolo_lightning.types import SampleKey

MOSAIC = PLAIN | {"mosaic": 1.0}
WIDTH = 200


def objects(boxes, outlined=None):
    """Objects of these boxes; those outlined are rectangles."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    outlined = [True] * len(boxes) if outlined is None else outlined
    outlines = [
        np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) if has_outline else np.zeros((0, 2))
        for (x1, y1, x2, y2), has_outline in zip(boxes.tolist(), outlined, strict=True)
    ]
    number = np.arange(len(boxes))
    return Objects(boxes, number + 5, outlines, number % 4, np.zeros(len(boxes), bool))


def paste(given_objects, fraction=1.0, seed=0):
    return paste_mirrored(given_objects, WIDTH, fraction, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("boxes", "outlined", "fraction"),
    [([], [], 1.0), ([[0, 0, 9, 9]], [False], 1.0), ([[0, 0, 9, 9]] * 4, [True] * 4, 0.1)],
    ids=["no objects", "no outlines", "less than half an object"],
)
def test_nothing_to_copy_draws_nothing(boxes, outlined, fraction):
    generator, given_objects = np.random.default_rng(0), objects(boxes, outlined)
    assert paste_mirrored(given_objects, WIDTH, fraction, generator) is given_objects
    assert generator.random() == np.random.default_rng(0).random()


def test_a_copy_is_the_mirror_image():
    result = paste(objects([[10, 20, 40, 60], [90, 0, 100, 9]], [True, False]))
    assert result.boxes.tolist() == [[10, 20, 40, 60], [90, 0, 100, 9], [160, 20, 190, 60]]
    assert result.labels.tolist() == [5, 6, 5]
    assert result.tiles.tolist() == [0, 1, 0]
    assert result.mirrored.tolist() == [False, False, True]
    assert result.outlines[2].tolist() == [[190, 20], [160, 20], [160, 60], [190, 60]]


@pytest.mark.parametrize(
    ("boxes", "count"),
    [
        ([[80, 0, 120, 50]], 0),  # in the middle: it would cover itself
        ([[10, 0, 50, 50], [150, 0, 190, 50]], 0),  # another one is there
        ([[10, 0, 50, 50], [138, 0, 162, 50]], 0),  # the second one would cover 30 % of the first
        ([[10, 0, 50, 50], [139, 0, 161, 50]], 1),  # or a little less
        ([[10, 0, 50, 100], [150, 0, 190, 29]], 1),  # the small one may be copied onto the large one
        ([[10, 5, 10, 50]], 0),  # cut off by the border of the canvas
    ],
)
def test_no_more_than_a_little_of_any_object_is_covered(boxes, count):
    assert len(paste(objects(boxes)).boxes) == len(boxes) + count


coordinate = st.integers(0, WIDTH).map(float)


@settings(deadline=None, max_examples=150)
@given(
    corners=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=8),
    outlined=st.lists(st.booleans(), min_size=8, max_size=8),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_copies_keep_the_rules(corners, outlined, fraction, seed):
    boxes = np.sort(np.array(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    before = objects(boxes, outlined[: len(boxes)])
    after = paste(before, fraction, seed)
    count, copies = len(boxes), after.boxes[len(boxes) :]
    assert len(copies) <= round(fraction * sum(outlined[:count]))
    assert after.mirrored.tolist() == [False] * count + [True] * len(copies)
    lengths = {len(rows) for rows in (after.boxes, after.labels, after.outlines, after.tiles)}
    assert lengths == {count + len(copies)}
    np.testing.assert_array_equal(after.boxes[:count], before.boxes)
    for number, (x1, y1, x2, y2) in enumerate(copies.tolist(), start=count):
        source = after.labels[number] - 5
        assert outlined[source]
        assert before.boxes[source].tolist() == [WIDTH - x2, y1, WIDTH - x1, y2]
        for other in after.boxes[:number].tolist():
            width, height = min(x2, other[2]) - max(x1, other[0]), min(y2, other[3]) - max(y1, other[1])
            area = (other[2] - other[0]) * (other[3] - other[1])
            assert max(0, width) * max(0, height) <= 0.3 * area + 1e-3
    again = paste(before, fraction, seed)
    np.testing.assert_array_equal(after.boxes, again.boxes)


@pytest.mark.parametrize("size", [(96, 96), (96, 160)])
def test_pasted_objects_show_their_mirrored_pixels(size):
    dataset, num_copies = SyntheticShapes(outlines=True, image_size=size), 0
    plain, pasting = YOLOv5Augmentation(**MOSAIC), YOLOv5Augmentation(**MOSAIC | {"copy_paste": 1.0})
    for index in range(40):
        key = SampleKey(index, size, epoch=1)
        before, after = plain(dataset, key), pasting(dataset, key)
        mirrored = before.image[:, ::-1]
        changed = (before.image != after.image).any(2)
        np.testing.assert_array_equal(after.image[changed], mirrored[changed])
        count = len(before.boxes)
        np.testing.assert_array_equal(after.boxes[:count], before.boxes)
        elsewhere = changed.astype(np.uint8)
        for (x1, y1, x2, y2), label in zip(after.boxes[count:], after.labels[count:], strict=True):
            source = np.abs(before.boxes - [size[1] - x2, y1, size[1] - x1, y2]).max(1).argmin()
            np.testing.assert_allclose(before.boxes[source], [size[1] - x2, y1, size[1] - x1, y2], atol=1e-3)
            assert before.labels[source] == label
            elsewhere[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 0
            num_copies += 1
        # Outside the boxes of the copies there are only slivers, of objects too small to keep.
        _, _, stats, _ = cv2.connectedComponentsWithStats(elsewhere)
        assert (stats[1:, 2:4].min(1, initial=0) <= 3).all()
    assert num_copies > 30


@pytest.mark.parametrize("options", [{"degrees": 180.0}, {"degrees": 30.0, "shear": 15.0, "scale": 0.5}])
def test_boxes_hug_the_pasted_pixels(options):
    centre, angles = np.array([50, 70]), np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = (centre + 25 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)
    image = np.full((160, 160, 3), 20, np.uint8)
    image[np.hypot(*(np.mgrid[:160, :160] + 0.5 - centre[::-1, None, None])) <= 25] = 255
    nothing = np.full_like(image, 20), np.zeros((0, 4), np.float32), []
    rows = [(image, np.array([[25, 45, 75, 95]], np.float32), [outline]), *[nothing] * 30]
    disc = Pictures(*map(list, zip(*rows, strict=True)))
    transform = YOLOv5Augmentation(**MOSAIC | {"copy_paste": 1.0, "fliplr": 0.5} | options)
    distances = []
    for epoch in range(60):
        sample = transform(disc, SampleKey(0, (160, 160), epoch))
        _, _, stats, _ = cv2.connectedComponentsWithStats((sample.image[..., 0] > 137).astype(np.uint8))
        regions = stats[1:, :4] + np.pad(stats[1:, :2], ((0, 0), (2, 0)))
        low, high = sample.boxes[:, :2].max(0, initial=0), sample.boxes[:, 2:].min(0, initial=999)
        if len(sample.boxes) == 2 and (low > high).any():  # a disc and its copy, which do not touch
            distances += [np.abs(regions - box).max(1).min() for box in sample.boxes]
    assert len(distances) > 20
    assert np.mean(distances) < 1.0
    assert np.max(distances) <= 2.0


def test_copies_are_a_function_of_the_key():
    dataset = SyntheticShapes(outlines=True)
    transform, key = YOLOv5Augmentation(copy_paste=0.5, degrees=20.0), SampleKey(4, (96, 128), 2, 1)
    first, again = transform(dataset, key), transform(dataset, key)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for other in (replace(key, index=5), replace(key, epoch=3), replace(key, seed=2)):
        assert (transform(dataset, other).image != first.image).any()


def test_the_data_set_is_not_written_to():
    dataset = one_triangle()
    image, outline = dataset.images[0].copy(), dataset.all_outlines[0][0].copy()
    for epoch in range(5):
        YOLOv5Augmentation(copy_paste=1.0)(dataset, SampleKey(0, (120, 160), epoch))
    np.testing.assert_array_equal(dataset.images[0], image)
    np.testing.assert_array_equal(dataset.all_outlines[0][0], outline)


def test_polygons_of_files_are_copied_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))
    shapes = SyntheticShapes(outlines=True, image_size=96, num_train_images=6)
    for index in range(6):
        image = tmp_path / "images" / f"{index}.png"
        image.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(image), shapes.read_image(index)[..., ::-1])
        rows = zip(shapes.annotations(index)[1], shapes.outlines(index), strict=True)
        write_label(image, "\n".join(" ".join(map(str, [label, *(points / 96).ravel()])) for label, points in rows))
    files = YOLODataset(
        write_yaml(tmp_path / "d.yaml", {"train": "images", "names": list(shapes.class_names)}), "train"
    )
    transform = YOLOv5Augmentation(copy_paste=1.0, degrees=20.0)
    for index in range(6):
        key = SampleKey(index, (96, 96), epoch=2)
        expected = transform(shapes, key)
        for dataset in (files, CachedImages(files, (96, 96))):
            sample = transform(dataset, key)
            # an outline that is rounded otherwise may gain or lose a pixel of its rim
            assert (sample.image != expected.image).any(2).mean() < 0.01
            np.testing.assert_array_equal(sample.labels, expected.labels)
            np.testing.assert_allclose(sample.boxes, expected.boxes, atol=0.01)
