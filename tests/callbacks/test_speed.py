"""How long an image takes: what is measured, what is left out, and that fit does not pay for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import SimpleProfiler

from tests.test_module import make_data, make_module, make_trainer
from yolo_lightning.callbacks import EvaluationSpeed, StepTimes
from yolo_lightning.ops import NMS

pytestmark = pytest.mark.usefixtures("one_thread")
STAGES = ["preprocess", "inference", "postprocess"]


class SlowNMS(NMS):
    def forward(self, *args: Any) -> Any:
        time.sleep(0.05)
        return super().forward(*args)


def read(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "run" / "speed.json").read_text())
    return content


def trainer_of(tmp_path: Path, *callbacks: Any, **options: Any) -> Trainer:
    return make_trainer(*callbacks, logger=CSVLogger(tmp_path, name="", version="run"), **options)


@pytest.mark.parametrize("command", ["validate", "test"])
def test_each_stage_has_its_time(command: str, tmp_path: Path, lightning_log: Any):
    callback, module = EvaluationSpeed(num_warmup_batches=1), make_module(postprocess=SlowNMS)
    trainer = trainer_of(tmp_path, callback)
    getattr(trainer, command)(module, datamodule=make_data(shapes={"num_test_images": 5}), verbose=False)
    speed = read(tmp_path)  # of batches of 2, 2 and 1 images
    assert (speed["num_batches"], speed["num_images"], speed["num_warmup_batches"]) == (2, 3, 1)
    assert (speed["batch_size"], speed["device"], speed["precision"]) == (2, "cpu", "32-true")
    image, batch = speed["milliseconds_per_image"], speed["milliseconds_per_batch"]
    assert list(image) == list(batch) == [*STAGES, "total"]
    assert image["total"] == pytest.approx(sum(image[stage] for stage in STAGES))
    assert min(image.values()) > 0
    assert image["postprocess"] >= 2 * 50 / 3
    assert batch["postprocess"]["p50"] >= 50
    assert all(times["p50"] <= times["p95"] <= times["p99"] for times in batch.values())
    # the network has its own time, not that of the suppression within it
    assert image["inference"] + image["postprocess"] <= image["total"]
    (line,) = [text for text in lightning_log() if text.startswith("Speed per image: ")]
    assert f"{image['postprocess']:.1f} ms postprocess at {speed['input_sizes'][0][0]}x" in line
    assert line.endswith("Measured on 2 batches with 3 images, after 1 to warm up.")
    # all is as it was
    assert not module.postprocess._forward_hooks
    assert not module.postprocess._forward_pre_hooks
    assert type(trainer.profiler).__name__ == "PassThroughProfiler"


@pytest.mark.parametrize(("val", "warmup", "measured"), [(1, 3, 1), (5, 3, 2), (9, 3, 3), (9, 0, 5)])
def test_of_few_batches_no_more_than_half_are_left_out(val: int, warmup: int, measured: int, tmp_path: Path):
    trainer_of(tmp_path, EvaluationSpeed(warmup)).validate(make_module(), datamodule=make_data(val=val), verbose=False)
    speed = read(tmp_path)
    assert speed["num_batches"] == measured
    assert speed["num_batches"] + speed["num_warmup_batches"] == -(-val // 2)


def test_fit_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    callback, seen = EvaluationSpeed(), []
    module = make_module()

    def step(*args: Any) -> Any:
        seen.append((len(module.postprocess._forward_hooks), type(module.trainer.profiler).__name__))
        return original(*args)

    original = module.validation_step
    monkeypatch.setattr(module, "validation_step", step)
    trainer_of(tmp_path, callback, max_epochs=1).fit(module, datamodule=make_data())
    assert set(seen) == {(0, "PassThroughProfiler")}
    assert callback.result is None
    assert not list(tmp_path.rglob("speed.json"))


@pytest.mark.parametrize("options", [{"enabled": False}, {}])
def test_none_is_written_where_none_is_wanted(options: dict[str, Any], tmp_path: Path):
    trainer = trainer_of(tmp_path, EvaluationSpeed(**options), fast_dev_run=not options)
    trainer.validate(make_module(), datamodule=make_data(), verbose=False)
    assert not list(tmp_path.rglob("speed.json"))


def test_a_profiler_in_use_hears_all(tmp_path: Path):
    profiler = SimpleProfiler()
    trainer = trainer_of(tmp_path, EvaluationSpeed(), StepTimes(), profiler=profiler)
    trainer.validate(make_module(), datamodule=make_data(), verbose=False)
    assert trainer.profiler is profiler
    counts = {name: len(times) for name, times in profiler.recorded_durations.items()}
    assert counts["[LightningModule]DetectionModule.inference"] == 3
    assert counts["[Strategy]SingleDeviceStrategy.validation_step"] == 3


def test_an_evaluation_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module, trainer = make_module(), trainer_of(tmp_path, EvaluationSpeed())
    with monkeypatch.context() as patch:
        patch.setattr(module, "validation_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trainer.validate(module, datamodule=make_data(), verbose=False)
    assert not module.postprocess._forward_hooks
    trainer.validate(module, datamodule=make_data(), verbose=False)
    assert read(tmp_path)["num_images"] == 3


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path: Path):
    (tmp_path / "run" / "speed.json").mkdir(parents=True)
    with pytest.warns(UserWarning, match="speed.json was not written"):
        trainer_of(tmp_path, EvaluationSpeed()).validate(make_module(), datamodule=make_data(), verbose=False)


def test_a_gpu_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without one: what stands for it is waited for at both ends of each stage."""
    waits = []

    class Device:
        @staticmethod
        def synchronize() -> None:
            waits.append(1)

    monkeypatch.setattr(torch, "get_device_module", lambda device: Device)
    trainer_of(tmp_path, EvaluationSpeed()).validate(make_module(), datamodule=make_data(), verbose=False)
    assert len(waits) == 3 * 6


def test_a_wrong_number():
    with pytest.raises(ValueError, match="num_warmup_batches is -1"):
        EvaluationSpeed(num_warmup_batches=-1)
