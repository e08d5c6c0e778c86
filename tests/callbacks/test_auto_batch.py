"""The batch size follows from measured memory; here the memory is that of a device that is made up."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from tests.runs import check_run, load, tiny_config, write_shapes
from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import AutoBatch, MultiScale
from yolo_lightning.callbacks.auto_batch import MemoryMeter, choose_batch_size
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.data.problems import DataError
from yolo_lightning.errors import InputError
from yolo_lightning.models import PAFPN, CSPDarknet, Detector
from yolo_lightning.types import Batch

pytestmark = pytest.mark.usefixtures("one_thread")

MIB = 2**20
TINY = partial(
    Detector,
    backbone=partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125),
    neck=partial(PAFPN, depth_multiple=0.33),
)

CASES = {
    # needed, failed, budget, expected
    "nothing fits": ({}, 1, 100, 0),
    "a line": ({1: 110, 2: 120, 4: 140, 8: 180, 16: 260}, None, 600, 50),
    "rounded down": ({1: 110, 2: 120}, None, 609, 50),
    "never more than failed": ({1: 110, 2: 120, 4: 140}, 8, 600, 4),
    "less than failed": ({1: 110, 2: 120, 4: 140}, 8, 130, 3),
    "only one fits": ({1: 110}, 2, 600, 1),
    "one fits, if barely": ({1: 110, 2: 120}, None, 50, 1),
    "no growth": ({1: 100, 2: 100, 4: 100}, None, 600, 4),
    "at most 1024": ({1: 101, 2: 102}, None, 10**9, 1024),
}


@pytest.mark.parametrize(("needed", "failed", "budget", "expected"), CASES.values(), ids=CASES)
def test_size_follows_from_memory(needed: dict[int, int], failed: int | None, budget: float, expected: int) -> None:
    assert choose_batch_size(needed, failed, budget) == expected


class FakeMemory(MemoryMeter):
    """Counts what autograd keeps for the backward pass, which is what grows with the batch."""

    name = "a device"

    def __init__(self, available: int) -> None:
        self._available = available
        self.peaks: list[int] = []

    def available(self) -> int:
        return self._available

    def peak(self, step: Callable[[], None]) -> int | None:
        kept = 0
        assert (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark) == (True, False), "as in training"

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step()
        if kept > self._available:
            return None
        self.peaks.append(kept)
        return kept


class OnFakeDevice(AutoBatch):
    def __init__(self, available: int, fraction: float = 0.8) -> None:
        super().__init__(fraction)
        self.meter = FakeMemory(available)

    def memory_meter(self, device: torch.device) -> MemoryMeter | None:
        return self.meter


def make_data(batch_size: Any = "auto", **options: Any) -> DetectionDataModule:
    dataset = partial(SyntheticShapes, num_train_images=2000, num_val_images=2, image_size=64)
    return DetectionDataModule(dataset=dataset, image_size=64, batch_size=batch_size, num_workers=0, **options)


def make_module() -> DetectionModule:
    torch.manual_seed(0)
    return DetectionModule(SyntheticShapes.class_names, detector=TINY)


def make_trainer(*callbacks: Any, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **{**limits, **quiet, **options})


def resolve(
    callback: AutoBatch,
    data: DetectionDataModule,
    *others: Any,
    module: DetectionModule | None = None,
    **options: Any,
) -> int:
    """What the callback's part of the set-up does."""
    trainer: Any = make_trainer(callback, *others, **options)
    trainer.strategy.connect(module or make_module())
    trainer.datamodule, data.trainer = data, trainer
    data.setup("fit")
    callback.setup(trainer, trainer.lightning_module, "fit")
    return data.batch_size


def test_a_number_stays_as_it_is() -> None:
    data = make_data(8)
    assert resolve(OnFakeDevice(200 * MIB), data) == 8
    assert (data.eval_batch_size, data.auto_batch_size) == (16, False)


def test_measures_what_training_takes() -> None:
    data, callback = make_data(), OnFakeDevice(200 * MIB)
    size = resolve(callback, data)
    needed = callback.meter.peaks
    assert len(needed) == 5
    each = (needed[-1] - needed[-2]) / 8
    # this and the weights three times in 0.8 of the memory, about to within one image
    weights = 4 * sum(parameter.numel() for parameter in make_module().detector.parameters())
    used = needed[-1] + (size - 16) * each + 3 * weights
    assert used == pytest.approx(0.8 * 200 * MIB, abs=2 * each)
    assert data.eval_batch_size == 2 * size
    half = resolve(OnFakeDevice(200 * MIB, fraction=0.4), make_data())
    assert 0.4 * size < half < 0.55 * size


def test_says_why(lightning_log: Callable[[], list[str]]) -> None:
    size = resolve(OnFakeDevice(200 * MIB), make_data())
    lines = [line for line in lightning_log() if "AutoBatch" in line]
    assert len(lines) == 2
    assert "a device, 0.20 GiB free, images of 64 × 64 in 32-true. GiB by batch size: 1: 0.0" in lines[0]
    assert f"GiB an image, so 80% of the free memory suffice for {size}" in lines[0]
    assert f"batch_size is {size}: {size} images on each of 1 device(s)" in lines[1]


def test_heeds_canvas_and_precision() -> None:
    plain = resolve(OnFakeDevice(200 * MIB), make_data())
    larger = resolve(OnFakeDevice(200 * MIB), make_data(), MultiScale(maximum=2.0))
    half = resolve(OnFakeDevice(200 * MIB), make_data(), precision="bf16-true")
    assert larger < plain / 3
    assert half > 1.4 * plain


def test_memory_that_runs_out_while_measuring(lightning_log: Callable[[], list[str]]) -> None:
    enough = OnFakeDevice(200 * MIB)
    resolve(enough, make_data())
    assert 1 <= resolve(OnFakeDevice(enough.meter.peaks[3]), make_data()) < 8
    assert "16: not enough memory" in "".join(lightning_log())
    with pytest.raises(InputError, match="does not suffice for one image; use a smaller network or image_size"):
        resolve(OnFakeDevice(1000), make_data())


def test_network_and_random_numbers_stay_as_they_are() -> None:
    module = make_module()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    resolve(OnFakeDevice(50 * MIB), make_data(), module=module)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_quad_groups_are_whole() -> None:
    assert resolve(OnFakeDevice(200 * MIB), make_data(quad=True)) % 4 == 0


def test_on_the_cpu_it_is_16(lightning_log: Callable[[], list[str]]) -> None:
    data = make_data()
    make_trainer(AutoBatch()).fit(make_module(), datamodule=data)
    assert data.batch_size == 16
    assert data.eval_batch_size == 32
    assert "batch_size is 16; it is measured on GPUs only, not on CPU" in "".join(lightning_log())


def test_without_the_callback_it_is_an_error() -> None:
    data = make_data()
    assert data.eval_batch_size == 32
    make_trainer().validate(make_module(), datamodule=data, verbose=False)
    with pytest.raises(DataError, match=r"batch_size is 'auto'.*add the callback AutoBatch"):
        make_trainer().fit(make_module(), datamodule=data)


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_refuses_a_share_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match=r"auto_batch\.fraction must be above 0"):
        AutoBatch(fraction=value)


class UnequalRanks(AutoBatch):
    """The second process has half of the memory."""

    def memory_meter(self, device: torch.device) -> MemoryMeter | None:
        return FakeMemory(200 * MIB // (1 + torch.distributed.get_rank()))


CONFIG = """
trainer:
  callbacks+: [{class_path: tests.callbacks.test_auto_batch.UnequalRanks}]
"""


@pytest.mark.slow
def test_the_smallest_result_of_all_devices_counts(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "shapes", train=1200, val=4)
    config = tiny_config(data, max_epochs=1, devices=2, strategy="ddp", limit_train_batches=1, limit_val_batches=1)
    config["data"]["init_args"]["batch_size"] = "auto"
    config["auto_anchor"] = {"enabled": False}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "unequal.yaml").write_text(CONFIG)
    result = check_run("fit", "--config=tiny.yaml", "--config=unequal.yaml", cwd=tmp_path)
    lines = [line for line in (result.stdout + result.stderr).splitlines() if "AutoBatch: batch_size is" in line]
    alone = resolve(OnFakeDevice(100 * MIB), make_data())
    assert f"batch_size is {2 * alone}: {alone} images on each of 2 device(s)" in lines[0]


def test_a_resumed_run_keeps_its_batch_size(tmp_path: Path, lightning_log: Callable[[], list[str]]) -> None:
    sizes: list[int] = []

    class Recording(DetectionModule):
        def training_step(self, batch: Batch, batch_idx: int) -> Any:
            sizes.append(len(batch))
            return super().training_step(batch, batch_idx)

    def module() -> DetectionModule:
        torch.manual_seed(0)
        return Recording(SyntheticShapes.class_names, detector=TINY)

    first = make_trainer(OnFakeDevice(100 * MIB))
    first.fit(module(), datamodule=make_data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    assert load(tmp_path / "last.ckpt")["callbacks"]["OnFakeDevice"] == {"batch_size": sizes[0]}
    second = make_trainer(OnFakeDevice(200 * MIB), max_epochs=2)
    data = make_data()
    second.fit(module(), datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert sizes == [sizes[0]] * 2
    assert data.batch_size == sizes[0]
    assert f"batch_size is {sizes[0]}, that of the run that is resumed" in "".join(lightning_log())


@pytest.mark.slow
def test_command_line(tmp_path: Path) -> None:
    config = tiny_config(write_shapes(tmp_path / "shapes", train=20, val=4), max_epochs=1, limit_train_batches=1)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    options = ["--data.batch_size=auto", "--auto_batch.fraction=0.5", "--auto_anchor.enabled=false"]
    result = check_run("fit", "--config=tiny.yaml", *options, cwd=tmp_path)
    assert "AutoBatch: batch_size is 16; it is measured on GPUs only" in result.stdout + result.stderr
    check_run("validate", "--config=tiny.yaml", "--data.batch_size=auto", cwd=tmp_path)
