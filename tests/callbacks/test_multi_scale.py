"""Batches of changing size."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.test_module import make_data, make_module, make_trainer
from yolo_lightning.callbacks import MultiScale
from yolo_lightning.types import Batch, ImageInfo


def make_batch(height=640, width=640, count=2):
    infos = [ImageInfo(str(i), i, (height, width), (1.0, 1.0), (8.0, 4.0)) for i in range(count)]
    return Batch(
        torch.rand(count, 3, height, width),
        torch.tensor([[0.0, 0.0, width, height], [10.0, 20.0, 30.0, 60.0]]),
        torch.tensor([0, 1]),
        torch.tensor([0, 1]),
        infos,
    )


def scale(callback, batch, batch_idx=0, epoch=0, seed=0, image_size=(640, 640), stride=32, strides=(8, 16, 32)):
    data = SimpleNamespace(image_size=image_size, stride=stride, seed=seed)
    trainer = SimpleNamespace(datamodule=data, current_epoch=epoch)
    callback.on_train_batch_start(trainer, SimpleNamespace(detector=SimpleNamespace(strides=strides)), batch, batch_idx)
    return batch


def sizes(callback, count=400, height=64, width=64, **options):
    return [
        scale(callback, make_batch(height, width), number, image_size=(height, width), **options).size
        for number in range(count)
    ]


@pytest.mark.parametrize(("minimum", "maximum"), [(0.0, 1.0), (-1.0, 1.0), (1.2, 1.0)])
def test_the_range_must_be_one(minimum, maximum):
    with pytest.raises(ValueError, match="0 < minimum <= maximum"):
        MultiScale(minimum, maximum)


def test_sizes_are_multiples_of_the_stride_over_the_whole_range():
    found = sizes(MultiScale(), height=256, width=256)
    assert {height for height, _ in found} == {128, 160, 192, 224, 256, 288, 320, 352, 384}
    assert all(height == width for height, width in found)
    counts = [found.count((side, side)) for side in range(128, 416, 32)]
    assert min(counts) > 20  # of 400 / 9 on average


def test_the_range_is_an_argument():
    assert {height for height, _ in sizes(MultiScale(1.0, 1.25), height=256, width=256)} == {256, 288, 320}
    assert {height for height, _ in sizes(MultiScale(0.01, 0.1), 50)} == {32}


def test_strides_of_p6_networks():
    found = {height for height, _ in sizes(MultiScale(), 60, 256, 256, stride=64, strides=(8, 16, 32, 64))}
    assert found == {128, 192, 256, 320, 384}


def test_both_sides_have_the_same_factor_and_are_rounded_up():
    for height, width in sizes(MultiScale(), 100, 96, 320):
        assert width % 32 == height % 32 == 0
        assert height == -(-96 * width // (320 * 32)) * 32
    # a canvas of its own in a run of squares
    assert scale(MultiScale(1.5, 1.5), make_batch(320, 640), image_size=(640, 640)).size in {(480, 960), (512, 992)}


def test_boxes_follow_the_image():
    batch = make_batch(96, 320)
    before = batch.boxes.clone()
    scale(MultiScale(1.25, 1.5), batch, image_size=(96, 320))
    height, width = batch.size
    assert width >= 400 - 32
    assert batch.boxes[0].tolist() == [0, 0, width, height]
    factor = torch.tensor([width / 320, height / 96] * 2)
    torch.testing.assert_close(batch.boxes, before * factor)
    info = batch.infos[1]
    assert info.ratio == pytest.approx((height / 96, width / 320))
    assert info.padding == pytest.approx((8 * width / 320, 4 * height / 96))


def test_an_object_stays_under_its_box():
    batch = make_batch(64, 64, 1)
    batch.boxes, batch.images[:] = torch.tensor([[16.0, 8.0, 48.0, 40.0]]), 0
    batch.images[..., 8:40, 16:48] = 1
    scale(MultiScale(1.5, 1.5), batch, image_size=(64, 64))
    assert batch.size == (96, 96)
    left, top, right, bottom = batch.boxes[0].int().tolist()
    assert (batch.images[..., top:bottom, left:right] >= 0.5).all()
    assert batch.images.sum().item() == pytest.approx(3 * (right - left) * (bottom - top), rel=0.02)


def test_the_size_is_a_function_of_seed_epoch_and_batch():
    def found(**options):
        return sizes(MultiScale(), 20, 256, 256, **options)

    assert found() == found()
    assert found(epoch=1) != found() != found(seed=1)
    torch.manual_seed(7)
    assert found(epoch=1) == found(epoch=1)


def test_a_batch_of_the_drawn_size_is_left_alone():
    batch = make_batch(64, 64)
    images = batch.images
    scale(MultiScale(0.5, 0.5), batch, image_size=(128, 128))
    assert batch.size == (32, 32)
    assert images.shape[-1] == 64
    same = make_batch(32, 32)
    images = same.images
    scale(MultiScale(0.1, 0.2), same, image_size=(32, 32))
    assert same.images is images


def test_training_sees_the_sizes_and_the_loss_the_data_s(one_thread):
    class Seen(MultiScale):
        def __init__(self):
            super().__init__()
            self.sizes = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert pl_module.loss.image_size == (64, 64)
            assert outputs["loss"].isfinite()
            self.sizes.append(batch.size)

    def run(max_epochs, **options):
        seen = Seen()
        trainer = make_trainer(seen, max_epochs=max_epochs)
        trainer.fit(make_module(), make_data(2, 8, seed=3), **options)
        return seen.sizes

    found = run(2)
    assert len(found) == 8
    assert {32, 64} < {height for height, _ in found} <= {32, 64, 96}
    assert run(1) == found[:4]
