"""Shapes: the same for the same arguments, and tightly boxed."""

import numpy as np
import pytest

from yolo_lightning.data.synthetic import SyntheticShapes, _paint
from yolo_lightning.types import SampleKey


@pytest.mark.parametrize("size", [32, 160, (96, 224), (333, 250)])
def test_images_and_boxes_are_well_formed(size):
    dataset = SyntheticShapes(image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    for index in range(20):
        sample = dataset[index]
        assert sample.image.shape == (height, width, 3)
        assert sample.image.dtype == np.uint8
        assert sample.info.original_size == dataset.image_size(index) == (height, width)
        assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int64)
        assert len(sample.boxes) == len(sample.labels) >= 1
        assert (sample.boxes >= -1e-4).all()
        assert (sample.boxes <= np.array([width, height] * 2) + 1e-4).all()
        longer = (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(1)
        assert (longer >= 0.179 * min(height, width)).all()
        assert (longer <= 0.501 * min(height, width)).all()


def test_equal_arguments_give_equal_pixels():
    first, second = SyntheticShapes(seed=3), SyntheticShapes(seed=3)
    for index in (5, 0, 5):
        np.testing.assert_array_equal(first.read_image(index), second.read_image(index))
        np.testing.assert_array_equal(first.annotations(index)[0], second.annotations(index)[0])


def test_seeds_splits_and_positions_differ():
    sets = [SyntheticShapes(), SyntheticShapes(seed=1), SyntheticShapes(None, "val"), SyntheticShapes(None, "test")]
    images = [dataset.read_image(0) for dataset in sets] + [sets[0].read_image(1)]
    assert len({image.tobytes() for image in images}) == len(images)
    assert len({dataset.path(0) for dataset in sets}) == len(sets)


def test_counts_and_classes():
    counts = {"num_train_images": 5, "num_val_images": 3, "num_test_images": 0}
    assert [len(SyntheticShapes(None, split, **counts)) for split in ("train", "val", "test")] == [5, 3, 0]
    dataset = SyntheticShapes()
    seen = np.concatenate([dataset.annotations(index)[1] for index in range(100)])
    assert set(seen.tolist()) == set(range(len(dataset.class_names)))


def test_no_objects_if_none_are_wanted():
    boxes, labels = SyntheticShapes(num_objects=(0, 0)).annotations(0)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_outlines_are_given_on_request():
    plain, dataset = SyntheticShapes(), SyntheticShapes(outlines=True)
    for index in range(20):
        boxes, labels = dataset.annotations(index)
        outlines = dataset.outlines(index)
        np.testing.assert_array_equal(plain.read_image(index), dataset.read_image(index))
        np.testing.assert_array_equal([[*points.min(0), *points.max(0)] for points in outlines], boxes)
        assert [len(points) for points in outlines] == [(64, 4, 3, 10, 12)[label] for label in labels]
        assert [points.shape for points in plain.outlines(index)] == [(0, 2)] * len(labels)


def test_boxes_are_tight():
    dataset = SyntheticShapes(num_objects=(1, 1), image_size=200)
    labels = set()
    for index in range(60):
        (shape,) = dataset._shapes(dataset._generator(index))
        labels.add(shape.label)
        image = np.zeros((200, 200, 3), np.uint8)
        _paint(image, shape)
        covered = image.max(2) > 0.3 * max(shape.color)  # half of the darker rim
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # The very tip of a corner covers less than half of its pixels.
        np.testing.assert_allclose(dataset.annotations(index)[0][0], found, atol=1.0)
    assert len(labels) == len(dataset.class_names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "no split 'dev'; it has train, val, test"),
        ({"image_size": 16}, "image_size is 16"),
        ({"object_size": (0.5, 0.2)}, "object_size is"),
        ({"object_size": (0.0, 0.2)}, "object_size is"),
        ({"num_objects": (3, 1)}, "num_objects is"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SyntheticShapes(**options)


@pytest.mark.parametrize("index", [-1, 512])
def test_there_is_nothing_outside(index):
    for method in ("read_image", "annotations", "path", "image_size", "__getitem__"):
        with pytest.raises(IndexError):
            getattr(SyntheticShapes(), method)(index)


def test_it_can_be_augmented():
    from yolo_lightning.data.augment import YOLOv5Augmentation

    sample = YOLOv5Augmentation()(SyntheticShapes(), SampleKey(0, (160, 160)))
    assert sample.image.shape == (160, 160, 3)
