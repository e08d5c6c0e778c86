from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from yolo_lightning.data.canvases import FixedCanvas, rectangular_canvas
from yolo_lightning.data.samplers import EvaluationBatchSampler, TrainBatchSampler

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
    ],
)
def test_rectangular_canvas(ratios: list[float], image_size: int, padding: float, expected: tuple[int, int]) -> None:
    assert rectangular_canvas(ratios, image_size, 32, padding) == expected


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
