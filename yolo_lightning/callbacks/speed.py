"""How long an image takes in validation and test."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from yolo_lightning.callbacks.listener import Listener, stop_listening
from yolo_lightning.paths import replacing
from yolo_lightning.text import describe_speed
from yolo_lightning.types import Batch

__all__ = ["SPEED_FILE", "EvaluationSpeed", "Speed"]

SPEED_FILE = "speed.json"
_STAGES = ("preprocess", "inference", "postprocess")
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Speed:
    """What an evaluation took, without reading images and without figures.

    Args:
        milliseconds_per_image: Of each stage and in ``total``: ``preprocess`` (copy to the device and scaling),
            ``inference`` (the networks), ``postprocess`` (suppression).
        milliseconds_per_batch: Percentiles ``p50``, ``p95`` and ``p99`` over the batches, of each stage and in total.
        num_batches: Batches that were measured.
        num_images: Images in these.
        num_warmup_batches: Batches before them, which were not.
        batch_size: Most images of a batch.
        input_sizes: Heights and widths that the network saw, in pixels.
        device: Where the network ran.
        precision: What it computed in.
    """

    milliseconds_per_image: dict[str, float]
    milliseconds_per_batch: dict[str, dict[str, float]]
    num_batches: int
    num_images: int
    num_warmup_batches: int
    batch_size: int
    input_sizes: list[tuple[int, int]]
    device: str
    precision: str

    def __str__(self) -> str:
        stages = {stage: self.milliseconds_per_image[stage] for stage in _STAGES}
        batch = ", ".join(f"{value:.1f} ms ({name})" for name, value in self.milliseconds_per_batch["total"].items())
        return (
            f"Speed per image: {describe_speed(stages, self.input_sizes)}. A batch of {self.batch_size}: {batch}. "
            f"Measured on {_count(self.num_batches, 'batch', 'batches')} with "
            f"{_count(self.num_images, 'image', 'images')}, after {self.num_warmup_batches} to warm up."
        )


class EvaluationSpeed(Callback):
    """Measures how long an image takes in ``validate`` and ``test``, prints it and writes ``speed.json``.

    Milliseconds per image of preprocess (copy to the device and scaling), inference (the networks) and postprocess
    (suppression), and percentiles over the batches. A GPU is waited for before and after each. During fit nothing is
    measured. With several processes this is the time of the first one.

    Args:
        num_warmup_batches: First batches that are left out, as they choose algorithms and fill caches; of a few batches
            no more than half.
        enabled: Whether to measure.
        report: Whether to print and write; else only :attr:`result` tells.

    Raises:
        ValueError: If the number of batches is negative.
    """

    def __init__(self, num_warmup_batches: int = 3, enabled: bool = True, report: bool = True) -> None:
        if num_warmup_batches < 0:
            raise ValueError(f"speed.num_warmup_batches is {num_warmup_batches}; it must not be negative")
        self.num_warmup_batches = num_warmup_batches
        self.enabled = enabled
        self.report = report
        self._stages: _Stages | None = None
        self._rows: list[tuple[dict[str, float], int, tuple[int, int]]] = []

    result: Speed | None = None
    """The speed of the last evaluation; None if there was nothing to measure."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begins to listen to what the Trainer tells its profiler."""
        self.result, self._rows = None, []
        if self.enabled and stage in {"validate", "test"} and trainer.is_global_zero:
            self._stages = _Stages(trainer, pl_module.postprocess)
            self._stages.listen()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the times of a batch."""
        if self._stages is not None:
            self._rows.append((self._stages.take(), len(batch), batch.size))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps the times of a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Prints and writes."""
        if not self.enabled or trainer.state.fn == "fit":
            return
        if self._rows:
            self.result = self._summarize(trainer)
        directory = trainer.log_dir  # a broadcast: every process asks
        if self.result is not None and self.report:
            rank_zero_info(str(self.result))
            if directory is not None and not getattr(trainer, "fast_dev_run", False):
                _write(self.result, Path(directory) / SPEED_FILE)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Prints and writes."""
        self.on_validation_end(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leaves Trainer and module as they were."""
        if self._stages is not None:
            self._stages.close()
            self._stages = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Does the same when a run is stopped."""
        self.teardown(trainer, pl_module, "validate")

    def _summarize(self, trainer: Trainer) -> Speed:
        num_left_out = min(self.num_warmup_batches, len(self._rows) // 2)
        seconds, counts, sizes = zip(*self._rows[num_left_out:], strict=True)
        times = {stage: np.array([1000 * batch[stage] for batch in seconds]) for stage in _STAGES}
        times["total"] = np.sum(list(times.values()), axis=0)
        device = trainer.strategy.root_device
        return Speed(
            {stage: float(values.sum() / sum(counts)) for stage, values in times.items()},
            {
                stage: {f"p{percent}": float(np.percentile(values, percent)) for percent in _PERCENTILES}
                for stage, values in times.items()
            },
            len(counts),
            sum(counts),
            num_left_out,
            max(counts),
            sorted(set(sizes)),
            torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            str(trainer.precision),
        )


class _Stages(Listener):
    """Seconds of each stage of a batch, from the actions of Lightning and of the module."""

    _ACTIONS = {"batch_to_device": "preprocess", "inference": "inference"}  # noqa: RUF012

    def __init__(self, trainer: Any, postprocess: nn.Module) -> None:
        super().__init__(trainer)
        self._seconds = dict.fromkeys(_STAGES, 0.0)
        self._began: dict[str, float] = {}
        self._hooks = [
            postprocess.register_forward_pre_hook(lambda *_: self._begin("postprocess")),
            postprocess.register_forward_hook(lambda *_: self._end("postprocess")),
        ]

    def take(self) -> dict[str, float]:
        """The times since the last taking."""
        seconds, self._seconds = self._seconds, dict.fromkeys(_STAGES, 0.0)
        seconds["inference"] -= seconds["postprocess"]  # which is a part of it
        return seconds

    def start(self, action_name: str) -> None:
        """Enters an action."""
        super().start(action_name)
        if stage := self._ACTIONS.get(action_name.rpartition(".")[2]):
            self._begin(stage)

    def stop(self, action_name: str) -> None:
        """Leaves an action."""
        if stage := self._ACTIONS.get(action_name.rpartition(".")[2]):
            self._end(stage)
        super().stop(action_name)

    def close(self) -> None:
        """Stops listening."""
        for hook in self._hooks:
            hook.remove()
        stop_listening(self._trainer, _Stages)

    def _begin(self, stage: str) -> None:
        self._wait()
        self._began[stage] = perf_counter()

    def _end(self, stage: str) -> None:
        self._wait()
        self._seconds[stage] += perf_counter() - self._began.pop(stage)

    def _wait(self) -> None:
        """Until the device has done what it was told; at once on a CPU."""
        device: torch.device = self._trainer.strategy.root_device
        wait: Callable[[], None] = torch.get_device_module(device).synchronize
        wait()


def _write(speed: Speed, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(speed), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        rank_zero_warn(f"{path.name} was not written: {error}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
