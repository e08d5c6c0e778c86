"""Four samples in one."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.data.pictures import Pictures
from yolo_lightning.data import Letterbox, TransformedDataset
from yolo_lightning.data.problems import UnreadableImageError
from yolo_lightning.data.quad import QuadSamples
from yolo_lightning.types import Batch, SampleKey

H, W = 32, 64
LEVELS = [10, 20, 30, 40, 50, 60, 70]
BOXES = [np.array([[4, 8, 4 + 4 * n, 20]], np.float32) for n in range(1, 8)]


class Fragile(Pictures):
    """Some files of it are gone."""

    lost: tuple[int, ...] = ()

    def read_image(self, index, long_side=None):
        if index in self.lost:
            raise UnreadableImageError(self.path(index), index, "cannot be read")
        return super().read_image(index, long_side)


def quads(lost=()):
    dataset = Fragile([np.full((H, W, 3), level, np.uint8) for level in LEVELS], BOXES)
    dataset.lost = lost
    return QuadSamples(TransformedDataset(dataset, Letterbox((H, W))))


def keys(*indices, epoch=0, seed=0):
    return [SampleKey(index, (H, W), epoch, seed) for index in indices]


def is_enlarged(sample):
    return len(np.unique(sample.image)) == 1


def of_kind(samples, indices, enlarged):
    """The joined sample of the first epoch in which it is of a kind."""
    made = (samples.__getitems__(keys(*indices, epoch=epoch))[0] for epoch in range(50))
    return next(sample for sample in made if is_enlarged(sample) == enlarged)


def test_no_samples():
    assert quads().__getitems__([]) == []


def test_four_are_tiled():
    sample = of_kind(quads(), range(4), enlarged=False)
    assert sample.image.shape == (2 * H, 2 * W, 3)
    corners = sample.image[H // 2 :: H, W // 2 :: W, 0]
    assert corners.tolist() == [[10, 30], [20, 40]]  # the second below the first, the third to its right
    assert sample.boxes.tolist() == [
        [4, 8, 8, 20],
        [4, 8 + H, 12, 20 + H],
        [4 + W, 8, 16 + W, 20],
        [4 + W, 8 + H, 20 + W, 20 + H],
    ]
    assert sample.labels.tolist() == [0, 1, 2, 3]
    assert (sample.num_samples, sample.info.index) == (4, 0)


def test_the_first_is_enlarged():
    sample = of_kind(quads(), range(4), enlarged=True)
    assert sample.image.shape == (2 * H, 2 * W, 3)
    assert np.unique(sample.image).tolist() == [10]
    assert sample.boxes.tolist() == [[8, 16, 16, 40]]
    assert sample.labels.tolist() == [0]
    assert sample.num_samples == 4
    assert sample.info.ratio == (2.0, 2.0)


def test_enlarging_keeps_edges_where_they_are():
    image = np.zeros((H, W, 3), np.uint8)
    image[8:20, 4:8] = 200
    samples = QuadSamples(TransformedDataset(Pictures([image], BOXES[:1]), Letterbox((H, W))))
    made = (samples.__getitems__(keys(0, epoch=epoch))[0] for epoch in range(50))
    sample = next(sample for sample in made if sample.boxes[0, 0] == 8)
    left, top, right, bottom = sample.boxes[0].astype(int)
    assert (sample.image[top:bottom, left:right] >= 100).all()
    outside = sample.image.copy()
    outside[top:bottom, left:right] = 0
    assert (outside < 100).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_incomplete_group_is_kept(count):
    tiled = of_kind(quads(), range(count), enlarged=False)
    assert (tiled.image[-1, -1] == 114).all()
    assert tiled.labels.tolist() == list(range(count))
    enlarged = of_kind(quads(), range(count), enlarged=True)
    assert enlarged.labels.tolist() == [0]
    assert enlarged.num_samples == tiled.num_samples == count


def test_unreadable_images():
    with pytest.warns(UserWarning, match="left out"):
        sample, *_ = quads(lost=(1,)).__getitems__(keys(0, 1, 2, 3))
    assert sample.num_samples == 3
    with pytest.warns(UserWarning, match="left out"):
        assert quads(lost=range(4)).__getitems__(keys(*range(4))) == [None]


def test_both_kinds_are_as_frequent():
    samples = quads()
    made = samples.__getitems__([key for epoch in range(300) for key in keys(0, 1, 2, 3, epoch=epoch)])
    assert len(made) == 300
    assert 120 < sum(map(is_enlarged, made)) < 180


def test_the_choice_is_a_function_of_the_key():
    samples = quads()
    wanted = [key for epoch in range(10) for key in keys(0, 1, 2, 3, epoch=epoch)]
    first, second = samples.__getitems__(wanted), samples.__getitems__(wanted)
    assert [is_enlarged(sample) for sample in first] == [is_enlarged(sample) for sample in second]
    other = samples.__getitems__([SampleKey(key.index, key.canvas, key.epoch, 1) for key in wanted])
    assert [is_enlarged(sample) for sample in first] != [is_enlarged(sample) for sample in other]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_makes_batches_of_groups(num_workers):
    batches = [keys(0, 1, 2, 3, 4, 5), keys(6)]
    loader = DataLoader(quads(), batch_sampler=batches, collate_fn=Batch.collate, num_workers=num_workers)
    first, second = list(loader)
    assert first.images.shape == (2, 3, 2 * H, 2 * W)
    assert (len(first), first.num_samples, len(second), second.num_samples) == (2, 6, 1, 1)
    assert first.to("cpu").num_samples == 6
