"""Where tiles lie, and the mosaic of nine."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.pictures import Pictures
from tests.data.test_augment import PLAIN, one_mark
from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.mosaic import four_tiles, nine_tiles
from yolo_lightning.types import SampleKey

CANVASES = [(64, 64), (48, 160), (96, 32)]
NINE = PLAIN | {"mosaic": 1.0, "mosaic9": 1.0}


def coverage(tiles, size):
    """How many tiles lie on each pixel of the canvas."""
    count = np.zeros((2 * size[0], 2 * size[1]), int)
    for tile in tiles:
        top, left = max(0, tile.top), max(0, tile.left)
        count[top : max(0, tile.top + tile.size[0]), left : max(0, tile.left + tile.size[1])] += 1
    return count


def blank(sizes):
    return Pictures([np.zeros((*size, 3), np.uint8) for size in sizes])


@pytest.mark.parametrize("size", CANVASES)
def test_nine_images_that_fill_the_size_cover_the_canvas(size):
    dataset = blank([size] * 3)
    for seed in range(30):
        tiles = nine_tiles(dataset, seed % 3, size, np.random.default_rng(seed))
        assert len(tiles) == 9
        assert seed % 3 in [tile.index for tile in tiles]
        assert (coverage(tiles, size) == 1).all()


side = st.integers(1, 200)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.tuples(side, side), min_size=1, max_size=9),
    size=st.sampled_from(CANVASES),
    seed=st.integers(0, 2**32 - 1),
    layout=st.sampled_from([four_tiles, nine_tiles]),
)
def test_tiles_of_any_sizes_do_not_overlap(sizes, size, seed, layout):
    tiles = layout(blank(sizes), 0, size, np.random.default_rng(seed))
    assert coverage(tiles, size).max() <= 1
    for tile in tiles:
        assert tile.size[0] == size[0] or tile.size[1] == size[1]
        assert (np.array(tile.size) <= size).all()


def test_narrow_images_lie_in_the_middle_of_a_wide_canvas():
    size, dataset = (48, 160), blank([(64, 64)])
    count = np.mean(
        [coverage(nine_tiles(dataset, 0, size, np.random.default_rng(s)), size) for s in range(200)], axis=0
    )
    columns = count.mean(0)
    assert abs(columns[:160].mean() - columns[160:].mean()) < 0.05


@pytest.mark.parametrize("size", CANVASES)
def test_a_mosaic_of_nine_leaves_no_grey(size):
    images = [np.full((*size, 3), 10 + 20 * number, np.uint8) for number in range(5)]
    transform = YOLOv5Augmentation(**NINE)
    for epoch in range(30):
        image = transform(Pictures(images), SampleKey(3, size, epoch)).image
        assert set(np.unique(image).tolist()) <= {10 + 20 * number for number in range(5)}


def test_more_images_are_seen_than_in_a_mosaic_of_four():
    images = [np.full((64, 64, 3), number, np.uint8) for number in range(100)]
    counts = {}
    for share in (0.0, 0.5, 1.0):
        transform = YOLOv5Augmentation(**NINE | {"mosaic9": share, "scale": 0.5})
        samples = [transform(Pictures(images), SampleKey(3, (64, 64), epoch)).image for epoch in range(200)]
        counts[share] = np.array([len(np.setdiff1d(np.unique(image), 114)) for image in samples])
    assert counts[0.0].max() == 4
    assert counts[1.0].max() == 9
    both = (counts[0.5] > 4).mean() / (counts[1.0] > 4).mean()
    assert 0.4 < both < 0.6


@pytest.mark.parametrize("size", [(160, 160), (96, 320)])
def test_boxes_find_their_pixels(size):
    transform, num_boxes = YOLOv5Augmentation(**NINE | {"scale": 0.5, "translate": 0.1}), 0
    for epoch in range(40):
        sample = transform(one_mark(), SampleKey(0, size, epoch))
        _, _, stats, _ = cv2.connectedComponentsWithStats((sample.image[..., 0] > 137).astype(np.uint8))
        regions = stats[1:, :4] + np.pad(stats[1:, :2], ((0, 0), (2, 0)))
        num_boxes += len(sample.boxes)
        for box in sample.boxes:
            assert np.abs(regions - box).max(1).min() <= 1.0
    assert num_boxes > 60
