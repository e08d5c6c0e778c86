"""Transforms of the Albumentations library: boxes follow pixels, labels follow boxes, mistakes are named."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_lightning.data.albumentations_list import AlbumentationsList

EMPTY = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def entry(name, **arguments):
    return {"class_path": name, "init_args": arguments}


def scene():
    """A red, a green and a blue square on black, labelled 7, 8 and 9."""
    image = np.zeros((100, 120, 3), np.uint8)
    boxes = np.array([[10, 20, 40, 50], [60, 10, 90, 40], [50, 60, 110, 90]], np.float32)
    for channel, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        image[y1:y2, x1:x2, channel] = 255
    return image, boxes, np.array([7, 8, 9])


def apply(transforms, image, boxes, labels, seed=0):
    return AlbumentationsList(transforms)(image, boxes, labels, np.random.default_rng(seed))


def test_an_empty_list_changes_nothing_and_draws_nothing():
    generator, twin = np.random.default_rng(0), np.random.default_rng(0)
    image, boxes, labels = scene()
    result = AlbumentationsList([])(image, boxes, labels, generator)
    assert result[0] is image
    assert result[1] is boxes
    assert generator.random() == twin.random()


def test_the_library_is_imported_only_when_it_is_used():
    lines = ["import sys", "from yolo_lightning.data import YOLOv5Augmentation", "YOLOv5Augmentation()"]
    code = "\n".join([*lines, "print('albumentations' in sys.modules)"])
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "False"


@pytest.mark.parametrize(
    "transforms",
    [
        [entry("HorizontalFlip", p=1)],
        [entry("albumentations.VerticalFlip", p=1)],
        [entry("Transpose", p=0), entry("RandomRotate90", p=0), entry("HorizontalFlip", p=1)],
        [entry("RandomSizedBBoxSafeCrop", height=100, width=120, p=1)],
        [entry("RandomResizedCrop", size=[100, 120], scale=[0.3, 0.6], p=1)],
        [entry("Affine", rotate=0, translate_percent=0.3, p=1)],
        [entry("OneOf", p=1, transforms=[entry("HorizontalFlip"), entry("VerticalFlip")])],
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_boxes_follow_pixels_and_labels_follow_boxes(transforms, seed):
    image, boxes, labels = apply(transforms, *scene(), seed=seed)
    assert image.shape == (100, 120, 3)
    assert len(boxes) == len(labels) <= 3
    for box, label in zip(boxes, labels, strict=True):
        if (box[2:] - box[:2]).min() < 1:
            continue  # a sliver may cover no pixel's centre
        rows, columns = np.nonzero(image[..., label - 7] > 127)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, found, atol=2.5)


def test_transforms_of_pixels_leave_boxes_exactly_as_they_are():
    image, boxes, labels = scene()
    boxes[0] += np.float32(1 / 3)
    changed, boxes_after, labels_after = apply([entry("Blur", p=1), entry("GaussNoise", p=1)], image, boxes, labels)
    assert (changed != image).any()
    np.testing.assert_array_equal(boxes_after, boxes)
    np.testing.assert_array_equal(labels_after, labels)


@pytest.mark.parametrize("transforms", [[entry("Blur", p=1)], [entry("HorizontalFlip", p=1)]])
def test_images_without_boxes(transforms):
    _, boxes, labels = apply(transforms, scene()[0], *EMPTY)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
    assert (boxes.dtype, labels.dtype) == (np.float32, np.int64)


def test_a_crop_without_boxes_drops_their_labels():
    image, boxes, labels = scene()
    transforms = [entry("Crop", x_min=0, y_min=60, x_max=20, y_max=80), entry("Resize", height=100, width=120)]
    assert apply(transforms, image, boxes, labels)[1].shape == (0, 4)


def test_randomness_is_keyed():
    transforms = [entry("HorizontalFlip", p=0.5), entry("GaussNoise", p=0.5), entry("Affine", rotate=[-20, 20], p=0.5)]
    chain = AlbumentationsList(transforms)
    outcomes = []
    for seed in [*range(8), *range(8)]:
        outcomes.append(chain(*scene(), np.random.default_rng(seed))[0].tobytes())
    assert outcomes[:8] == outcomes[8:]
    assert len(set(outcomes)) > 3


def test_transforms_act_independently():
    chain = AlbumentationsList([entry("HorizontalFlip", p=0.5), entry("VerticalFlip", p=0.5)])
    image, boxes, labels = scene()
    seen = {chain(image, boxes, labels, np.random.default_rng(seed))[0].tobytes() for seed in range(40)}
    assert len(seen) == 4


coordinate = st.one_of(st.sampled_from([0.0, 1e-7, 1.0, 63.999996, 64.0, 64.00001]), st.floats(0, 64, width=32))


MOVING = AlbumentationsList([entry("Affine", rotate=[-30, 30], scale=[0.5, 2.0], p=1), entry("VerticalFlip", p=0.5)])


@settings(deadline=None, max_examples=60)
@given(corners=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=6))
def test_boxes_at_the_borders_and_without_area_raise_nothing(corners):
    pairs = np.sort(np.array(corners, np.float32).reshape(-1, 2, 2), axis=1)
    boxes, labels = pairs.reshape(-1, 4), np.arange(len(corners))
    image = np.zeros((64, 64, 3), np.uint8)
    _, after, kept = apply([entry("HorizontalFlip", p=1)], image, boxes, labels)
    assert set(kept.tolist()) <= set(labels.tolist())
    assert (after >= 0).all()
    assert (after <= 64).all()
    mirrored = np.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], axis=1)
    np.testing.assert_allclose(after, mirrored[kept], atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    corners=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=6),
    seed=st.integers(0, 2**32 - 1),
    side=st.sampled_from([1, 2, 64]),
)
def test_transforms_that_move_boxes_keep_them_inside_with_their_labels(corners, seed, side):
    boxes = np.sort(np.array(corners, np.float32).reshape(-1, 2, 2), axis=1).reshape(-1, 4) * np.float32(side / 64)
    labels = np.arange(len(boxes))
    _, after, kept = MOVING(np.zeros((side, side, 3), np.uint8), boxes, labels, np.random.default_rng(seed))
    assert (after.dtype, after.shape) == (np.float32, (len(kept), 4))
    assert np.isfinite(after).all()
    assert ((after >= 0) & (after <= side)).all()
    assert (after[:, 2:] >= after[:, :2]).all()
    assert (np.diff(kept) > 0).all()  # the same rows in the same order
    assert set(kept.tolist()) <= set(labels.tolist())


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([entry("NoSuchThing")], "has no transform 'NoSuchThing'"),
        ([entry("os.system")], "has no transform 'os.system'"),
        ([entry("BboxParams")], "has no transform"),
        ([entry("Blur", strength=3)], "transform Blur rejects .*strength"),
        ([entry("Blur", blur_limit="much")], "transform Blur rejects"),
        ([entry("OneOf", transforms=[entry("Nope")])], "has no transform 'Nope'"),
        (["Blur"], "has not the form"),
        ([{"name": "Blur"}], "has not the form"),
        ([{"class_path": "Blur", "p": 1}], "has not the form"),
    ],
)
def test_mistakes_are_named(transforms, message):
    with pytest.raises(ValueError, match=message):
        AlbumentationsList(transforms)


def test_a_list_that_changes_the_size_is_refused():
    with pytest.raises(ValueError, match=r"\(100, 120, 3\) into \(120, 100, 3\); end it with a Resize"):
        apply([entry("Transpose", p=1)], *scene())
