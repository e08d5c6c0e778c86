"""Which images share a batch, and on which canvas."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from yolo_lightning.data.canvases import (
    BucketCanvases,
    FixedCanvas,
    RectangularCanvases,
    bucket_canvases,
    rectangular_canvas,
    training_canvases,
)

# 37 flat, 22 square and 11 narrow images, in no order
SIZES = np.random.default_rng(0).permutation(
    np.array([(360, 640)] * 20 + [(380, 640)] * 17 + [(500, 500)] * 22 + [(640, 480)] * 11)
)
ALL = np.arange(len(SIZES))
NONE = np.zeros(0, np.int64)


def batches(canvases, images=ALL, batch_size=8, seed=0):
    return list(canvases.batches(images, batch_size, np.random.default_rng(seed)))


def buckets(num_buckets=None, min_images=1):
    canvases = bucket_canvases(SIZES, (640, 640), 32, num_buckets=num_buckets, min_images=min_images)
    return BucketCanvases(SIZES, canvases)


@pytest.mark.parametrize(
    "canvases", [FixedCanvas((32, 64)), RectangularCanvases(SIZES, (64, 64), 32), buckets()], ids=lambda c: type(c)
)
def test_every_image_comes_as_often_as_it_is_given(canvases):
    assert batches(canvases, NONE) == []
    for images in (ALL, ALL[:8], ALL[:9], np.array([3, 3, 3, 60, 60, 7])):
        made = batches(canvases, images)
        assert Counter(chain.from_iterable(batch.tolist() for batch, _ in made)) == Counter(images.tolist())
        assert len(made) == -(-len(images) // 8)
        assert sorted(len(batch) for batch, _ in made)[1:] == [8] * (len(made) - 1)


def test_a_fixed_canvas_shuffles():
    first, again, other = (batches(FixedCanvas((32, 64)), seed=seed) for seed in (0, 0, 1))
    order = [np.concatenate([batch for batch, _ in made]).tolist() for made in (first, again, other)]
    assert order[0] == order[1] != order[2]
    assert {canvas for _, canvas in first} == {(32, 64)}


def test_rectangular_batches_are_sorted_and_never_change():
    canvases = RectangularCanvases(SIZES, (640, 640), 32)
    assert not canvases.mosaic
    made = batches(canvases)
    ratios = np.concatenate([canvases.ratios[batch] for batch, _ in made])
    assert (np.diff(ratios) >= 0).all()
    assert [canvas for _, canvas in made] == (
        [(384, 640)] * 4 + [(640, 640)] * 4 + [(640, 480)]  # the last six
    )
    for (batch, canvas), (other, other_canvas) in zip(made, batches(canvases, seed=5), strict=True):
        assert batch.tolist() == other.tolist()
        assert canvas == other_canvas


def test_an_image_belongs_to_the_bucket_of_its_shape():
    canvases = buckets()
    assert canvases.mosaic
    assert canvases.canvases == [(384, 640), (640, 640), (640, 480)]
    ratios = SIZES[:, 0] / SIZES[:, 1]
    nearest = [np.argmin([abs(np.log(ratio / (h / w))) for h, w in canvases.canvases]) for ratio in ratios]
    assert canvases.buckets.tolist() == nearest


def test_few_batches_mix_buckets_and_the_greater_part_decides():
    canvases = buckets()
    made = batches(canvases)
    mixed = [batch for batch, _ in made if len(set(canvases.buckets[batch].tolist())) > 1]
    assert len(mixed) == 2
    for batch, canvas in made:
        bucket, _ = Counter(canvases.buckets[batch].tolist()).most_common(1)[0]
        assert canvas == canvases.canvases[bucket]


def test_buckets_shuffle_images_and_batches():
    canvases = buckets()
    first, second = batches(canvases), batches(canvases, seed=1)
    assert [canvas for _, canvas in first] != sorted(canvas for _, canvas in first)
    assert {frozenset(batch.tolist()) for batch, _ in first} != {frozenset(batch.tolist()) for batch, _ in second}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(384, 640), (640, 640), (640, 480)]),
        ({"num_buckets": 7}, [(384, 640), (640, 640), (640, 480)]),
        ({"num_buckets": 2}, [(384, 640), (640, 640)]),
        ({"num_buckets": 1}, [(384, 640)]),
        ({"min_images": 12}, [(384, 640), (640, 640)]),
        ({"min_images": 1000}, [(384, 640)]),
    ],
)
def test_buckets_of_few_images_are_dissolved(options, expected):
    assert bucket_canvases(SIZES, (640, 640), 32, **options) == expected


def test_equal_canvases_are_one_bucket():
    sizes = np.array([[100, 200], [101, 200], [99, 200], [300, 600]])
    assert bucket_canvases(sizes, (64, 64), 32) == [(32, 64)]
    assert bucket_canvases(sizes[:1], (64, 64), 32) == [(32, 64)]


@pytest.mark.parametrize(
    ("ratios", "image_size", "padding", "expected"),
    [
        ([1.0], 640, 0.5, (672, 672)),
        ([0.75, 0.75], 640, 0.5, (512, 672)),
        ([480 / 640], 320, 0.5, (256, 352)),
        ([4 / 3, 1.5], 640, 0.5, (672, 512)),
        ([0.5, 2.0], 640, 0.5, (672, 672)),
        ([0.5, 1.0], 640, 0.0, (640, 640)),
        ([0.75], 640, 0.0, (480, 640)),
        # images that are fitted to 192 × 640
        ([0.3], (192, 640), 0.0, (192, 640)),
        ([0.2, 0.1], (192, 640), 0.0, (128, 640)),
        ([0.2, 1.0], (192, 640), 0.0, (192, 640)),
        ([1.0], (192, 640), 0.0, (192, 192)),
        ([1.0, 2.0], (192, 640), 0.5, (224, 224)),
        ([2.0], (192, 640), 0.0, (192, 96)),
    ],
)
def test_rectangular_canvas(ratios, image_size, padding, expected):
    assert rectangular_canvas(ratios, image_size, 32, padding) == expected


def test_a_run_has_buckets_of_at_least_four_batches():
    def canvases(kind, **options):
        return training_canvases(kind, lambda: SIZES, (640, 640), 32, **options)

    assert canvases("buckets", batch_size=2).canvases == [(384, 640), (640, 640), (640, 480)]
    assert canvases("buckets", batch_size=5).canvases == [(384, 640), (640, 640)]
    assert canvases("buckets", batch_size=5, num_buckets=3).canvases == [(384, 640), (640, 640), (640, 480)]
    assert isinstance(canvases("rectangular"), RectangularCanvases)
    assert canvases("fixed").size == (640, 640)
