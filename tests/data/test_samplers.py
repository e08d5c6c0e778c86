from __future__ import annotations

from itertools import chain, zip_longest

import numpy as np
import pytest

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.canvases import BucketCanvases, FixedCanvas, RectangularCanvases
from yolo_lightning.data.samplers import EvaluationBatchSampler, TrainBatchSampler
from yolo_lightning.data.sampling import ClassBalancedSampling, RepeatFactorSampling, Sampling
from yolo_lightning.types import SampleKey

CANVAS = FixedCanvas((32, 64))


def _indices(sampler: TrainBatchSampler | EvaluationBatchSampler) -> list[list[int]]:
    return [[key.index for key in batch] for batch in sampler]


def test_training_needs_images_and_an_even_share() -> None:
    with pytest.raises(ValueError, match="no training images"):
        TrainBatchSampler(0, 1, CANVAS)
    with pytest.raises(ValueError, match="use a multiple of 3"):
        TrainBatchSampler(10, 8, CANVAS, world_size=3)


@pytest.mark.parametrize(("num_images", "batch_size", "lengths"), [(1, 4, [1]), (8, 4, [4, 4]), (10, 4, [4, 4, 2])])
def test_an_epoch_has_every_image_once(num_images: int, batch_size: int, lengths: list[int]) -> None:
    sampler = TrainBatchSampler(num_images, batch_size, CANVAS)
    batches = _indices(sampler)
    assert [len(batch) for batch in batches] == lengths
    assert len(sampler) == len(lengths)
    assert sorted(chain.from_iterable(batches)) == list(range(num_images))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    sampler = TrainBatchSampler(50, 8, CANVAS, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert [key.index for key in second[0]] != [key.index for key in first[0]]
    assert {(key.epoch, key.seed, key.canvas) for batch in second for key in batch} == {(1, 3, CANVAS.size)}
    assert _indices(TrainBatchSampler(50, 8, CANVAS, seed=4)) != _indices(TrainBatchSampler(50, 8, CANVAS, seed=3))
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("num_images", [3, 16, 17, 21, 23])
def test_ranks_share_the_batches_of_one_process(num_images: int, world_size: int) -> None:
    whole = _indices(TrainBatchSampler(num_images, 8, CANVAS))
    shares = [
        _indices(TrainBatchSampler(num_images, 8, CANVAS, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert all(parts)
        assert set(chain.from_iterable(parts)) == set(batch)
        if len(batch) >= world_size:
            assert sum(len(part) for part in parts) == len(batch)


def test_lightning_finds_set_epoch() -> None:
    sampler = TrainBatchSampler(4, 2, CANVAS)
    assert sampler.sampler.set_epoch == sampler.set_epoch


# ten flat images, six square and five narrow ones
SHAPES = np.array([(30, 60)] * 10 + [(50, 50)] * 6 + [(64, 32)] * 5)


class Shapes(DetectionDataset):
    """Images of these shapes; the class of the first is rare."""

    class_names = ("common", "rare")

    def __len__(self) -> int:
        return len(SHAPES)

    def path(self, index: int) -> str:
        return str(index)

    def image_size(self, index: int) -> tuple[int, int]:
        return tuple(SHAPES[index].tolist())

    def annotations(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 4), np.float32), np.array([int(index == 0)])

    def read_image(self, index: int, long_side: int | None = None) -> np.ndarray:
        return np.zeros((*self.image_size(index), 3), np.uint8)


KINDS = {
    "fixed": FixedCanvas((64, 64)),
    "rectangular": RectangularCanvases(SHAPES, (64, 64), 32),
    "buckets": BucketCanvases(SHAPES, [(32, 64), (64, 64), (64, 32)]),
}
SAMPLINGS = {
    "each once": None,
    "repeated": RepeatFactorSampling(Shapes(), threshold=1.0),
    "balanced": ClassBalancedSampling(Shapes()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("world_size", [2, 3])
def test_any_order_is_the_same_on_any_number_of_processes(
    kind: str, sampling: str, group_size: int, world_size: int
) -> None:
    batch_size = world_size * max(2, group_size)

    def keys(rank: int, world_size: int) -> list[list[SampleKey]]:
        sampler = TrainBatchSampler(
            len(SHAPES),
            batch_size,
            KINDS[kind],
            sampling=SAMPLINGS[sampling],
            group_size=group_size,
            seed=3,
            rank=rank,
            world_size=world_size,
        )
        sampler.set_epoch(2)
        assert len(list(sampler)) == len(sampler)
        return list(sampler)

    whole = keys(0, 1)
    shares = [keys(rank, world_size) for rank in range(world_size)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert len({key.canvas for key in batch}) == 1
        groups = [[part[begin : begin + group_size] for begin in range(0, len(part), group_size)] for part in parts]
        together = [group for turn in zip_longest(*groups) for group in turn if group is not None]
        expected = [batch[begin : begin + group_size] for begin in range(0, len(batch), group_size)]
        assert together == [expected[number % len(expected)] for number in range(max(world_size, len(expected)))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_length_of_an_epoch_never_changes(kind: str, sampling: str) -> None:
    sampler = TrainBatchSampler(len(SHAPES), 4, KINDS[kind], sampling=SAMPLINGS[sampling])
    seen = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        keys = list(chain.from_iterable(sampler))
        seen.add((len(list(sampler)), len(keys)))
        # an image that comes again is another sample
        assert len(set(keys)) == len(keys)
        if sampling == "each once":
            assert sorted(key.index for key in keys) == list(range(len(SHAPES)))
            assert {key.repeat for key in keys} == {0}
    assert seen == {(len(sampler), sampler.num_samples)}
    # the rare class, of factor √21, is in 4.58 of them, and the common one in 1.02 times twenty
    assert sampler.num_samples == {"repeated": 25}.get(sampling, 21)


def test_the_first_repeat_of_an_image_is_as_without_sampling() -> None:
    class Twice(Sampling):
        num_samples = 4

        def draw(self, generator: np.random.Generator) -> np.ndarray:
            return np.array([0, 1, 0, 1])

    keys = list(chain.from_iterable(TrainBatchSampler(2, 2, FixedCanvas((32, 32)), sampling=Twice())))
    assert sorted((key.index, key.repeat) for key in keys) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    streams = {key.generator().random() for key in keys}
    assert len(streams) == 4
    assert SampleKey(0, (32, 32)).generator().random() in streams


@pytest.mark.parametrize(
    ("kind", "num_mosaic_epochs", "expected"),
    [
        ("fixed", None, [True] * 4),
        ("fixed", 4, [True] * 4),
        ("fixed", 2, [True, True, False, False]),
        ("buckets", 3, [True, True, True, False]),
        ("fixed", 0, [False] * 4),
        ("rectangular", None, [False] * 4),
    ],
)
def test_the_last_epochs_are_without_mosaic(kind: str, num_mosaic_epochs: int | None, expected: list[bool]) -> None:
    sampler = TrainBatchSampler(len(SHAPES), 4, KINDS[kind], num_mosaic_epochs=num_mosaic_epochs)
    for epoch, mosaic in enumerate(expected):
        sampler.set_epoch(epoch)
        assert {key.mosaic for batch in sampler for key in batch} == {mosaic}


@pytest.mark.parametrize(("num_images", "world_size"), [(1, 2), (1, 4), (3, 2), (3, 4), (5, 4)])
@pytest.mark.parametrize("group_size", [1, 4])
def test_fewer_images_than_processes(num_images: int, world_size: int, group_size: int) -> None:
    batch_size = world_size * group_size
    shares = [
        _indices(
            TrainBatchSampler(num_images, batch_size, CANVAS, rank=rank, world_size=world_size, group_size=group_size)
        )
        for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {-(-num_images // batch_size)}
    for parts in zip(*shares, strict=True):
        assert all(parts)
    assert {index for share in shares for batch in share for index in batch} == set(range(num_images))


def test_groups_must_fit_into_the_batch() -> None:
    with pytest.raises(ValueError, match=r"among 2 in groups of 4; use a multiple of 8"):
        TrainBatchSampler(10, 12, CANVAS, world_size=2, group_size=4)


SIZES = np.array([[100, 100], [50, 100], [100, 50], [75, 100], [50, 100], [100, 75], [60, 100]])


def test_evaluation_sorts_by_shape_and_keeps_ties_in_order() -> None:
    sampler = EvaluationBatchSampler(SIZES, 2, (64, 64))
    assert _indices(sampler) == [[1, 4], [6, 3], [0, 5], [2]]
    assert [batch[0].canvas for batch in sampler] == [(64, 96), (64, 96), (96, 96), (96, 64)]
    assert {(key.epoch, key.seed) for batch in sampler for key in batch} == {(0, 0)}


def test_evaluation_without_rectangles_keeps_order_and_canvas() -> None:
    sampler = EvaluationBatchSampler(SIZES, 3, (64, 96), rectangular=False)
    assert _indices(sampler) == [[0, 1, 2], [3, 4, 5], [6]]
    assert {key.canvas for batch in sampler for key in batch} == {(64, 96)}


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_evaluation_shares_out_whole_batches_once(world_size: int) -> None:
    whole = list(EvaluationBatchSampler(SIZES, 2, (64, 64)))
    shares = [
        list(EvaluationBatchSampler(SIZES, 2, (64, 64), rank=r, world_size=world_size)) for r in range(world_size)
    ]
    assert sorted(chain.from_iterable(shares)) == sorted(whole)
    for rank, share in enumerate(shares):
        assert share == whole[rank::world_size]


def test_evaluation_of_nothing() -> None:
    sampler = EvaluationBatchSampler(np.zeros((0, 2), np.int64), 2, (64, 64))
    assert (len(sampler), list(sampler)) == (0, [])
    with pytest.raises(ValueError, match="positive"):
        EvaluationBatchSampler(SIZES, 0, (64, 64))
