"""What sampling hears of validation."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from tests.runs import load
from tests.test_module import NAMES, make_data, make_module, make_trainer
from yolo_lightning.callbacks import ClassBalance
from yolo_lightning.data import ClassBalancedSampling, RepeatFactorSampling

RESULTS = {"yolov5_map_per_class": np.array([0.25, np.nan])}


def trainer(data, fn="fit", sanity_checking=False):
    return SimpleNamespace(datamodule=data, state=SimpleNamespace(fn=fn), sanity_checking=sanity_checking)


class Data:
    def __init__(self):
        self.heard = []

    def update_sampling(self, average_precision):
        self.heard.append(average_precision)


@pytest.mark.parametrize(
    ("options", "results"),
    [({"sanity_checking": True}, RESULTS), ({"fn": "validate"}, RESULTS), ({}, {}), ({}, {"map": 0.1})],
)
def test_nothing_to_tell(options, results):
    data = Data()
    ClassBalance().on_validation_end(trainer(data, **options), SimpleNamespace(results=results))
    ClassBalance().on_validation_end(trainer(data, **options), SimpleNamespace())
    assert data.heard == []


def test_a_validation_is_told():
    data = Data()
    ClassBalance().on_validation_end(trainer(data), SimpleNamespace(results=RESULTS))
    ((first, second),) = data.heard
    assert first == 0.25
    assert math.isnan(second)


def test_other_data_is_left_alone():
    for data in (None, object()):
        ClassBalance().on_validation_end(trainer(data), SimpleNamespace(results=RESULTS))


class Order(Callback):
    """Which images each epoch had."""

    def __init__(self):
        self.epochs = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.epochs.setdefault(trainer.current_epoch, []).extend(info.index for info in batch.infos)


class Pretend(Callback):
    """Figures that a tiny network would not reach."""

    def on_validation_end(self, trainer, pl_module):
        generator = np.random.default_rng(trainer.current_epoch)
        pl_module.results["yolov5_map_per_class"] = generator.uniform(0.0, 1.0, len(NAMES))


def fit(tmp_path, sampling, max_epochs, resumed=None, pretend=True):
    order = Order()
    checkpoint = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    data = make_data(2, 14, seed=2, sampling=sampling)
    callbacks = [*([Pretend()] if pretend else []), order, ClassBalance(), checkpoint]
    make_trainer(*callbacks, max_epochs=max_epochs).fit(make_module(), data, ckpt_path=resumed)
    return order.epochs, data


@pytest.mark.usefixtures("one_thread")
def test_a_resumed_run_draws_the_same(tmp_path):
    whole, data = fit(tmp_path / "whole", ClassBalancedSampling, 3)
    middle = tmp_path / "whole" / "epoch=1.ckpt"
    stored = load(middle)["DetectionDataModule"]["average_precision"]
    assert stored == np.random.default_rng(1).uniform(0.0, 1.0, len(NAMES)).tolist()
    resumed, _ = fit(tmp_path / "resumed", ClassBalancedSampling, 3, middle)
    assert resumed == {2: whole[2]}
    # and it matters what was measured
    plain, _ = fit(tmp_path / "plain", ClassBalancedSampling, 2, pretend=False)
    assert plain[0] == whole[0]
    assert plain[1] != whole[1]
    assert data.num_training_batches == 7


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sampling", [None, partial(RepeatFactorSampling, threshold=0.9)])
def test_sampling_that_does_not_ask(tmp_path, sampling):
    epochs, data = fit(tmp_path, sampling, 1)
    assert len(epochs[0]) == (14 if sampling is None else sampling(data.dataset("train")).num_samples)
    assert set(epochs[0]) == set(range(14))
    if sampling is None:
        assert "DetectionDataModule" not in load(tmp_path / "epoch=0.ckpt")
