"""The parts of an epoch add up to it, what is slow is found in its own part, and a slow worker is named."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from torch.optim import SGD
from torch.utils.data import get_worker_info

from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import StepTimes, timeline
from yolo_lightning.callbacks.timeline import PARTS, DeviceClock, HostClock
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.models import PAFPN, CSPDarknet, Detector
from yolo_lightning.optim import Warmup

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = partial(
    Detector,
    backbone=partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125),
    neck=partial(PAFPN, depth_multiple=0.33),
)


class Recorder(Logger):
    """Keeps the times that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, float]] = []
        self.steps: list[int | None] = []

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("time/") for name in metrics):
            self.epochs.append({name.removeprefix("time/"): value for name, value in metrics.items()})
            self.steps.append(step)


class Wall(Callback):
    """An epoch by the clock on the wall: from its start to that of the next."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.moments.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.moments.append(time.perf_counter())


class CalmClock:
    """Time on a machine that does nothing else: what this process computes, and naps, which are not slept."""

    def __init__(self) -> None:
        self._napped = 0.0

    def perf_counter(self) -> float:
        return time.process_time() + self._napped

    def sleep(self, seconds: float) -> None:
        self._napped += seconds


nap = time.sleep


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes times as on a calm machine, so that the slowest part is the one that naps."""
    clock = CalmClock()
    monkeypatch.setattr(timeline, "time", clock)
    monkeypatch.setitem(globals(), "nap", clock.sleep)


class SlowCallback(Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        nap(0.1)


class SlowSGD(SGD):
    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        nap(0.1)
        return result


class SlowModule(DetectionModule):
    """Sleeps in one of its parts."""

    def __init__(self, where: str, **options: Any) -> None:
        super().__init__(SyntheticShapes.class_names, **options)
        self.where = where

    def _sleep(self, where: str) -> None:
        if self.where == where:
            nap(0.4 if where == "validation" else 0.1)  # of which there is one batch, and four others

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def transfer_batch_to_device(self, batch: Any, *args: Any) -> Any:
        if not self.trainer.validating:
            self._sleep("copy")
        return super().transfer_batch_to_device(batch, *args)

    def training_step(self, *args: Any) -> Any:
        self._sleep("forward")
        return super().training_step(*args)

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        self._sleep("backward")
        super().backward(loss, *args, **kwargs)

    def validation_step(self, *args: Any) -> Any:
        self._sleep("validation")
        return super().validation_step(*args)


class SlowShapes(SyntheticShapes):
    """Sleeps for each image, in one worker or in all."""

    def __init__(self, *args: Any, seconds: float = 0.02, worker: int | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seconds, self.worker, self.split = seconds, worker, args[1]

    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        info = get_worker_info()
        if self.split == "train" and (self.worker is None or (info is not None and info.id == self.worker)):
            nap(self.seconds)
        return super().read_image(index, long_side)


def make_data(dataset: Any = SyntheticShapes, **options: Any) -> DetectionDataModule:
    shapes = partial(dataset, num_train_images=16, num_val_images=4, image_size=64)
    defaults: dict[str, Any] = {"image_size": 64, "batch_size": 4, "num_workers": 0}
    return DetectionDataModule(dataset=shapes, **{**defaults, **options})


def fit(
    *callbacks: Callback,
    where: str = "",
    optimizer: type[SGD] = SGD,
    data: DetectionDataModule | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Trains for two epochs; the times of each."""
    recorder = Recorder()
    module = SlowModule(
        where, detector=TINY, nominal_batch_size=4, warmup=Warmup(epochs=0), optimizer=partial(optimizer, lr=1e-3)
    )
    trainer = Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": recorder,
            "callbacks": [*callbacks, StepTimes()],
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 1,
            **options,
        }
    )
    trainer.fit(module, datamodule=data or make_data())
    assert recorder.steps == [3, 7]
    return recorder.epochs


@pytest.fixture
def lines(lightning_log: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """The lines about the epochs."""
    return lambda: [text for text in lightning_log() if "waiting for data" in text]


def test_the_parts_add_up_to_the_epoch(lines: Callable[[], list[str]]) -> None:
    wall = Wall()
    epochs = fit(wall)
    assert len(epochs) == 2
    for epoch, begin, end in zip(epochs, wall.moments, wall.moments[1:], strict=False):
        assert set(epoch) == {"epoch", *PARTS}
        assert sum(epoch[part] for part in PARTS) == pytest.approx(epoch["epoch"], rel=0.001)
        assert epoch["epoch"] == pytest.approx(end - begin, rel=0.03)
        assert all(epoch[part] > 0 for part in PARTS)
    first, second = lines()
    assert (first[:8], second[:8]) == ("Epoch 0:", "Epoch 1:")
    # What takes most of the time depends on what else the machine does; a test below is about the words.
    assert re.search(r"\. \d+ % [a-z ]+: ", second)


SLOW = {
    "copy": {"where": "copy"},
    "forward": {"where": "forward"},
    "backward": {"where": "backward"},
    "optimizer": {"optimizer": SlowSGD},
    "validation": {"where": "validation"},
}


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("part", SLOW)
def test_what_is_slow_is_found_in_its_own_part(part: str) -> None:
    epoch = fit(**SLOW[part])[1]  # type: ignore[arg-type]
    assert 0.4 <= epoch[part] < epoch["epoch"]
    assert all(epoch[other] < epoch[part] for other in PARTS if other != part)


@pytest.mark.usefixtures("calm")
def test_a_slow_callback_is_named(lines: Callable[[], list[str]]) -> None:
    epoch = fit(SlowCallback())[1]
    assert epoch["callbacks"] >= 0.4
    assert "most of it in SlowCallback" in lines()[1]


@pytest.mark.usefixtures("calm")
def test_a_slow_loader_gets_advice(lines: Callable[[], list[str]]) -> None:
    epoch = fit(data=make_data(SlowShapes, train_transform=_letterbox))[1]
    assert epoch["data"] >= 16 * 0.02
    assert "% waiting for data: raise data.num_workers (0) or set data.cache to ram" in lines()[1]
    assert "orker 0" not in lines()[1]


def test_a_slow_worker_is_named(lines: Callable[[], list[str]]) -> None:
    dataset = partial(SlowShapes, seconds=0.05, worker=1)
    fit(data=make_data(dataset, num_workers=2, train_transform=_letterbox))
    found = [re.search(r"Worker 1 takes (\d+) ms an image, the others (\d+) ms", line) for line in lines()]
    assert len(found) == 2
    for match in found:  # a busy machine adds to both
        assert match is not None
        assert int(match[1]) >= max(50, 2 * int(match[2]))


def test_equal_workers_are_not_named(lines: Callable[[], list[str]]) -> None:
    fit(data=make_data(partial(SlowShapes, seconds=0.05), num_workers=2, train_transform=_letterbox))
    assert not any("orker 0" in line or "orker 1" in line for line in lines())


def test_the_profiler_in_use_goes_on(lines: Callable[[], list[str]]) -> None:
    profiler = SimpleProfiler()
    fit(profiler=profiler)
    assert sum(len(times) for name, times in profiler.recorded_durations.items() if name.endswith("backward")) >= 8
    assert not profiler.current_actions


def test_leaves_the_trainer_as_it_was_and_may_be_switched_off() -> None:
    for enabled in (True, False):
        recorder, module = Recorder(), SlowModule("", detector=TINY)
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, logger=recorder, callbacks=[StepTimes(enabled)], fast_dev_run=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=make_data())
        assert isinstance(trainer.profiler, PassThroughProfiler)
        assert len(recorder.epochs) == enabled


def test_a_logger_that_fails_does_not_stop_training() -> None:
    class Broken(Recorder):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if any(name.startswith("time/") for name in metrics):
                raise ConnectionError("no network")

    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=Broken(), callbacks=[StepTimes()], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="Broken does not take the times of the epoch: no network") as warned:
        trainer.fit(SlowModule("", detector=TINY), datamodule=make_data())
    assert len([warning for warning in warned if "Broken" in str(warning.message)]) == 1
    assert trainer.current_epoch == 2


class FakeGPU:
    """A stream that takes its time: kernels end later than they are given to it."""

    def __init__(self) -> None:
        self.process = 0.0  # seconds
        self.stream = 0.0
        self.num_events = 0

    def compute(self, seconds: float) -> None:
        self.stream = max(self.stream, self.process) + seconds

    def event(self) -> FakeEvent:
        self.num_events += 1
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, gpu: FakeGPU) -> None:
        self.gpu, self.moment = gpu, 0.0

    def record(self) -> None:
        self.moment = max(self.gpu.stream, self.gpu.process)

    def query(self) -> bool:
        return self.moment <= self.gpu.process

    def synchronize(self) -> None:
        self.gpu.process = max(self.gpu.process, self.moment)

    def elapsed_time(self, later: FakeEvent) -> float:
        return 1000 * (later.moment - self.moment)


@pytest.mark.parametrize(("loading", "waiting"), [(0.0, 0.0), (1.0, 0.0), (5.0, 3.0)])
def test_on_a_gpu_only_what_it_waits_for_counts(loading: float, waiting: float) -> None:
    gpu = FakeGPU()
    clock = DeviceClock(gpu.event)
    num_steps = 500
    for _ in range(num_steps):
        gpu.process += loading
        clock.charge("data")
        gpu.compute(2.0)
        clock.charge("forward")
        if gpu.stream > gpu.process + 100:  # the queue of a real GPU is finite, too
            gpu.process = gpu.stream - 100
    parts = clock.take()
    assert parts["forward"] == pytest.approx(2.0 * num_steps)
    assert parts["data"] == pytest.approx(waiting * num_steps, abs=5.0)
    assert sum(parts.values()) == pytest.approx(gpu.process)
    assert gpu.num_events < 250, "events are used again"
    assert clock.take() == {}


def test_a_clock_begins_anew_when_it_is_read() -> None:
    clock = HostClock()
    time.sleep(0.02)
    clock.charge("a")
    clock.charge("b")
    first = clock.take()
    assert 0.02 <= first["a"] < 0.5
    assert first["b"] < first["a"]
    assert clock.take() == {}


def _letterbox() -> Any:
    from yolo_lightning.data import Letterbox

    return Letterbox()
