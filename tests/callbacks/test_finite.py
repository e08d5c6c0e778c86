"""Losses and weights that are not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tests.runs import assert_same_tensors, load
from tests.test_module import NAMES, TINY, WARMUP, make_data, make_trainer
from yolo_lightning import DetectionModule
from yolo_lightning.callbacks import EMA, FiniteCheck, RunCheckpoint
from yolo_lightning.errors import InputError
from yolo_lightning.types import Batch

pytestmark = pytest.mark.usefixtures("one_thread")


class Faulty(DetectionModule):
    """Its loss is multiplied by something else than 1 in some (epoch, batch)."""

    def __init__(self, faults: dict[tuple[int, int], float], **options: Any) -> None:
        torch.manual_seed(0)
        super().__init__(NAMES, detector=TINY, warmup=WARMUP, nominal_batch_size=4, **options)
        self.faults = faults
        self.seen: dict[tuple[int, int], list[str]] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        self.seen[self.current_epoch, batch_idx] = [info.path for info in batch.infos]
        output = super().training_step(batch, batch_idx)
        factor = self.faults.get((self.current_epoch, batch_idx), 1.0)
        return {**output, "loss": output["loss"] * factor}


class BreakWeights(Callback):
    """Writes a NaN into the weights, or into the statistics of a normalisation."""

    def __init__(self, epoch: int, name: str) -> None:
        self.epoch = epoch
        self.name = name

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            pl_module.state_dict()[self.name].view(-1)[0] = math.nan


def fit(folder: Path, module: DetectionModule, *callbacks: Callback, max_epochs: int = 3) -> DetectionModule:
    checkpoint = RunCheckpoint(dirpath=folder, monitor="val/fitness", mode="max", filename="best")
    trainer = make_trainer(EMA(decay=0.5, ramp=1), checkpoint, *callbacks, max_epochs=max_epochs)
    trainer.fit(module, datamodule=make_data())
    return module


def is_finite(state: dict[str, Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values())


def test_finite_training_is_untouched(tmp_path: Path):
    first = fit(tmp_path / "plain", Faulty({}))
    second = fit(tmp_path / "checked", Faulty({}), FiniteCheck(check_every=2))
    assert_same_tensors(dict(first.state_dict()), dict(second.state_dict()))


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_batch_is_left_out_and_named(fault: float, tmp_path: Path):
    module = Faulty({(1, 1): fault})
    with pytest.warns(UserWarning, match=r"epoch 1: the loss of 1 of the last 4 batches is not finite") as warned:
        fit(tmp_path, module, FiniteCheck())
    (message,) = (str(warning.message) for warning in warned if "not finite" in str(warning.message))
    assert message.endswith(f"The first has the images {', '.join(module.seen[1, 1])}")
    content = load(tmp_path / "last.ckpt")
    assert content["epoch"] == 2
    assert is_finite(content["state_dict"])
    assert is_finite(content["current_model_state"])


def test_a_run_that_does_not_recover_is_stopped(tmp_path: Path):
    faults = {(epoch, batch): math.nan for epoch in (1, 2, 3) for batch in range(4)}
    with (
        pytest.warns(UserWarning, match="epoch 1: the loss of 2 of the last 2 batches"),
        pytest.raises(InputError, match=r"not finite in 6 optimizer steps in a row \(epoch 2\).*precision"),
    ):
        fit(tmp_path, Faulty(faults), FiniteCheck(patience=6, check_every=2), max_epochs=5)
    content = load(tmp_path / "last.ckpt")
    assert content["epoch"] == 1
    assert is_finite(content["state_dict"])


def test_a_good_step_starts_the_count_again(tmp_path: Path):
    faults = {(epoch, batch): math.nan for epoch in range(3) for batch in range(3)}
    with pytest.warns(UserWarning, match="the loss of 3 of the last 4 batches"):
        fit(tmp_path, Faulty(faults), FiniteCheck(patience=4))
    assert load(tmp_path / "last.ckpt")["epoch"] == 2


@pytest.mark.parametrize("name", ["detector.head.m.0.bias", "detector.backbone.stem.bn.running_var"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_lost_weights_are_not_saved(name: str, epoch: int, tmp_path: Path):
    with pytest.raises(InputError, match=rf"weights are not finite after epoch {epoch}.*--ckpt_path"):
        fit(tmp_path, Faulty({}), FiniteCheck(), BreakWeights(epoch, name))
    saved = sorted(path.name for path in tmp_path.glob("*.ckpt"))
    assert saved == ([] if epoch == 0 else ["best.ckpt", "last.ckpt"])
    for file in saved:
        content = load(tmp_path / file)
        assert content["epoch"] == epoch - 1
        assert is_finite(content["state_dict"])


@pytest.mark.parametrize("options", [{"patience": 0}, {"check_every": 0}])
def test_wrong_arguments(options: dict[str, int]):
    with pytest.raises(ValueError, match="must be positive"):
        FiniteCheck(**options)
