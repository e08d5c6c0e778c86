from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from yolo_lightning.callbacks import EMA


class Regression(LightningModule):
    """A frozen layer, a normalisation with float and integer buffers, a trained layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.layer = nn.Linear(4, 1)
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))
        self.validated: list[dict[str, Tensor]] = []
        self.fail_in_epoch: int | None = None

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.counts += 1
        return self.layer(self.norm(self.frozen(batch))).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(copy.deepcopy(self.state_dict()))
        if self.current_epoch == self.fail_in_epoch:
            raise RuntimeError("validation fails")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)


class Weights(Callback):
    """The weights after each batch, before the average is validated."""

    def __init__(self) -> None:
        self.history: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.history.append(copy.deepcopy(pl_module.state_dict()))


def batches(num_batches: int = 3) -> DataLoader[Tensor]:
    data = torch.randn(4 * num_batches, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(data, batch_size=4)  # type: ignore[arg-type]


def make_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **{"max_epochs": 2, **quiet, **options})


def expected_average(start: dict[str, Tensor], history: list[dict[str, Tensor]], decay: float, ramp: float) -> Any:
    average = {name: value.double() for name, value in start.items()}
    for update, weights in enumerate(history, 1):
        d = decay * (1 - math.exp(-update / ramp))
        for name, value in weights.items():
            average[name] = d * average[name] + (1 - d) * value if value.is_floating_point() else value
    return average


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value.double(), second[name].double(), rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize(("decay", "ramp"), [(0.9999, 2000.0), (0.9, 2.0), (0.5, 0.1)])
def test_ramped_decay(decay: float, ramp: float):
    module, weights = Regression(), Weights()
    start = copy.deepcopy(module.state_dict())
    make_trainer(EMA(decay, ramp), weights).fit(module, batches(), batches(1))
    assert len(weights.history) == 6
    # the sanity check sees the start, each validation the average so far, and the module ends with the last
    assert_close(module.validated[0], start)
    assert_close(module.validated[1], expected_average(start, weights.history[:3], decay, ramp))
    assert_close(module.validated[2], expected_average(start, weights.history, decay, ramp))
    assert_close(module.state_dict(), expected_average(start, weights.history, decay, ramp))
    # training goes on from the weights, not from their average
    assert not torch.equal(module.validated[1]["layer.weight"], weights.history[2]["layer.weight"])
    assert module.counts.tolist() == [6, 6]
    assert module.norm.num_batches_tracked == 6
    assert torch.equal(module.frozen.weight, start["frozen.weight"])
    assert torch.equal(module.frozen.bias, start["frozen.bias"])


def test_the_average_does_not_disturb_training():
    module, plain, with_average, without = Regression(), Regression(), Weights(), Weights()
    make_trainer(EMA(0.9, 2), with_average).fit(module, batches(), batches(1))
    make_trainer(without).fit(plain, batches(), batches(1))
    for first, second in zip(with_average.history, without.history, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_decay_follows_the_weights():
    module, weights = Regression(), Weights()
    make_trainer(EMA(decay=0), weights).fit(module, batches(), batches(1))
    assert all(torch.equal(value, weights.history[-1][name]) for name, value in module.state_dict().items())


def test_updates_count_optimizer_steps():
    module, weights = Regression(), Weights()
    start = copy.deepcopy(module.state_dict())
    trainer = make_trainer(EMA(0.9, 2), weights, max_epochs=1, accumulate_grad_batches=2)
    trainer.fit(module, batches(5), batches(1))
    assert trainer.global_step == 3
    after_steps = [weights.history[index] for index in (1, 3, 4)]
    assert_close(module.state_dict(), expected_average(start, after_steps, 0.9, 2))


def test_weights_are_put_back_when_validation_fails():
    module, weights = Regression(), Weights()
    module.fail_in_epoch = 1
    trainer = make_trainer(EMA(0.9, 2), weights)
    trainer.num_sanity_val_steps = 0
    with pytest.raises(RuntimeError, match="validation fails"):
        trainer.fit(module, batches(), batches(1))
    assert not torch.equal(module.validated[-1]["layer.weight"], weights.history[-1]["layer.weight"])
    assert all(torch.equal(value, weights.history[-1][name]) for name, value in module.state_dict().items())


def test_weights_stay_when_training_fails():
    class Failing(Regression):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if batch_idx == 2:
                raise RuntimeError("training fails")
            return super().training_step(batch, batch_idx)

    module, weights = Failing(), Weights()
    with pytest.raises(RuntimeError, match="training fails"):
        make_trainer(EMA(0.9, 2), weights).fit(module, batches(), batches(1))
    assert all(torch.equal(value, weights.history[-1][name]) for name, value in module.state_dict().items())


def test_evaluation_after_fit_is_of_the_module():
    """The average of an earlier fit must not take the place of weights that were changed since."""
    module = Regression()
    trainer = make_trainer(EMA(0.9, 2))
    trainer.fit(module, batches(), batches(1))
    with torch.no_grad():
        module.layer.weight.fill_(7)
    trainer.validate(module, batches(1), verbose=False)
    assert (module.validated[-1]["layer.weight"] == 7).all()
    assert (module.layer.weight == 7).all()


def test_a_checkpoint_goes_on_bit_by_bit(tmp_path: Any):
    whole, first, second = Regression(), Regression(), Regression()
    make_trainer(EMA(0.9, 2), max_epochs=4).fit(whole, batches(), batches(1))

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "two.ckpt")

    make_trainer(EMA(0.9, 2), Keep(), max_epochs=4).fit(first, batches(), batches(1))
    content = torch.load(tmp_path / "two.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["layer.weight"], first.validated[2]["layer.weight"])
    trainer = make_trainer(EMA(0.9, 2), max_epochs=4)
    trainer.fit(second, batches(), batches(1), ckpt_path=tmp_path / "two.ckpt")
    assert trainer.global_step == 12
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"decay": 1.0}, "ema.decay"), ({"decay": -0.1}, "ema.decay"), ({"ramp": 0.0}, "ema.ramp")],
)
def test_bad_arguments(options: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        EMA(**options)
