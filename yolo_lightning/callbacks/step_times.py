"""Says once an epoch where the time went, and which setting would help."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from yolo_lightning.callbacks.listener import stop_listening
from yolo_lightning.callbacks.timeline import PARTS, DeviceClock, HostClock, Timeline

__all__ = ["StepTimes"]

_NAMES = {"data": "waiting for data", "copy": "copy to device"}
_NOTABLE = 0.2
_SLOW = 2.0
"""A worker that takes this many times as long as the others is named, ..."""
_LOST = 0.05
"""... if what it takes longer is this part of the epoch."""


class StepTimes(Callback):
    """Says once an epoch where the time went, and which setting would help.

    The parts are waiting for data, copy to the device (with the conversion there), forward (network and loss),
    backward, optimizer (with clipping), callbacks (with logging, checkpoints and the loop itself) and validation. They
    add up to the epoch, from its start to that of the next. On a GPU they are measured there: what the process does
    meanwhile counts only as far as the GPU has to wait for it. Each is written to the loggers as ``time/…`` in seconds.
    A worker that takes much longer for its images than the others is named. With several processes this is the time of
    the first one.

    Args:
        enabled: Whether to measure.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._timeline: Timeline | None = None
        self._epoch: int | None = None
        self._step = 0
        self._worker_times: npt.NDArray[np.float64] | None = None
        self._warned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listens to what the Trainer tells its profiler."""
        if self.enabled and stage == "fit" and trainer.is_global_zero:
            self._timeline = _listen(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports the epoch that has ended, and begins to measure the next."""
        self._finish(trainer, pl_module)
        if self._timeline is not None:
            self._epoch = trainer.current_epoch
            self._worker_times = _worker_times(trainer)
            on_gpu = trainer.strategy.root_device.type == "cuda"
            self._timeline.begin(DeviceClock() if on_gpu else HostClock())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers the step under which the figures of this epoch are logged."""
        self._step = max(0, trainer.global_step - 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports the last epoch."""
        self._finish(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the Trainer as it was."""
        stop_listening(trainer, Timeline)
        self._timeline = None

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._timeline is None or self._epoch is None:
            return
        total, parts, callbacks = self._timeline.end()
        epoch, self._epoch = self._epoch, None
        if not parts or total <= 0:
            return
        self._log(trainer, {"time/epoch": total, **{f"time/{part}": parts.get(part, 0.0) for part in PARTS}})
        hints = [_hint(parts, total, callbacks, trainer, pl_module)]
        if (slow := self._slow_workers(trainer, total)) is not None:
            hints.append(slow)
        with Tqdm.external_write_mode():  # else the line runs into the bar of the next epoch
            rank_zero_info(f"Epoch {epoch}: {_shares(parts, total)}. {'. '.join(hints)}.")

    def _log(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        for logger in trainer.loggers:
            try:
                logger.log_metrics(dict(figures), self._step)
            except Exception as error:  # a log must not stop the training
                if not self._warned:
                    self._warned = True
                    rank_zero_warn(f"{type(logger).__name__} does not take the times of the epoch: {error}")

    def _slow_workers(self, trainer: Trainer, total: float) -> str | None:
        now, before = _worker_times(trainer), self._worker_times
        if now is None or before is None or now.shape != before.shape:
            return None
        seconds, images = (now - before).T
        means = {worker: seconds[worker] / images[worker] for worker in np.flatnonzero(images).tolist()}
        return _name_slow(means, images, total)


def _listen(trainer: Any) -> Timeline:
    stop_listening(trainer, Timeline)  # after a fit that was interrupted
    timeline = Timeline(trainer)
    timeline.listen()
    return timeline


def _worker_times(trainer: Trainer) -> npt.NDArray[np.float64] | None:
    """Seconds and images so far of each worker (workers, 2), if the data counts them."""
    times = getattr(getattr(trainer, "datamodule", None), "worker_times", None)
    return None if times is None else np.array(times, np.float64).reshape(-1, 2)


def _name_slow(means: Mapping[int, float], images: npt.NDArray[np.float64], total: float) -> str | None:
    slow = []
    for worker, mean in means.items():
        others = [other for number, other in means.items() if number != worker]
        usual = median(others) if others else mean
        if mean > _SLOW * usual and (mean - usual) * images[worker] > _LOST * total:
            slow.append(worker)
    if not slow:
        return None
    usual = median(mean for worker, mean in means.items() if worker not in slow)
    each = ", ".join(f"worker {worker} takes {1000 * means[worker]:.0f} ms an image" for worker in slow)
    return f"{each[0].upper()}{each[1:]}, the others {1000 * usual:.0f} ms"


def _shares(parts: Mapping[str, float], total: float) -> str:
    shown = [
        f"{_NAMES.get(part, part)} {parts[part]:.2f} s ({100 * parts[part] / total:.0f} %)"
        for part in PARTS
        if parts.get(part)
    ]
    return f"{total:.2f} s: {', '.join(shown)}"


def _hint(
    parts: Mapping[str, float],
    total: float,
    callbacks: Mapping[str, float],
    trainer: Trainer,
    pl_module: LightningModule,
) -> str:
    """What takes longest, and the settings that change it."""
    shares = {part: parts.get(part, 0.0) / total for part in PARTS}
    compute = shares["forward"] + shares["backward"]
    candidates = {part: shares[part] for part in ("data", "copy", "optimizer", "callbacks", "validation")}
    most = max(candidates, key=lambda part: candidates[part])
    if compute >= candidates[most] or candidates[most] < _NOTABLE:
        return f"{100 * compute:.0f} % forward and backward: {_compute_settings(trainer, pl_module)}"
    slowest = max(callbacks, key=lambda name: callbacks[name], default=None)
    settings = {
        "data": _data_settings(trainer),
        "copy": "set data.pin_memory to true",
        "optimizer": "raise data.batch_size, for fewer steps",
        "callbacks": f"most of it in {slowest}" if slowest else "most of it in the loop; raise data.batch_size",
        "validation": "raise trainer.check_val_every_n_epoch",
    }
    return f"{100 * candidates[most]:.0f} % {_NAMES.get(most, most)}: {settings[most]}"


def _data_settings(trainer: Trainer) -> str:
    num_workers = getattr(trainer.train_dataloader, "num_workers", None)
    cache = getattr(getattr(trainer, "datamodule", None), "cache", None)
    raising = "raise data.num_workers" + ("" if num_workers is None else f" ({num_workers})")
    return raising if cache is not None else f"{raising} or set data.cache to ram"


def _compute_settings(trainer: Trainer, pl_module: LightningModule) -> str:
    if trainer.strategy.root_device.type != "cuda":
        return "a smaller network or data.image_size, or a GPU"
    settings = []
    if str(trainer.precision).startswith("32"):
        settings.append("trainer.precision bf16-mixed")
    if getattr(pl_module, "channels_last", True) is False:
        settings.append("model.channels_last true")
    if getattr(pl_module, "compile", None) is False:
        settings.append("model.compile true")
    return ", ".join([*settings, "a larger data.batch_size, or a smaller network or data.image_size"])
