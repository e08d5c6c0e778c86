"""The batch size that the memory of the device suffices for, measured."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from yolo_lightning.callbacks.multi_scale import MultiScale
from yolo_lightning.errors import InputError
from yolo_lightning.types import Batch, ImageInfo

__all__ = ["AutoBatch", "CUDAMemory", "MemoryMeter", "choose_batch_size"]

_SIZES = (1, 2, 4, 8, 16)
_MOST = 1024
_WITHOUT_MEASURING = 16
_BOXES_PER_IMAGE = 16
_COPIES = 3
"""What is not there yet when it is measured, in copies of the weights: their average, and two of an optimizer's."""


class MemoryMeter(Protocol):
    """Memory of a device, in bytes.

    Attributes:
        name: Name of the device.
    """

    name: str

    def available(self) -> int:
        """What this process may use in all, that which it uses now included."""

    def peak(self, step: Callable[[], None]) -> int | None:
        """The most that this process uses during ``step``; None if there is not enough."""


class CUDAMemory(MemoryMeter):
    """Memory of a GPU; what other processes use of it is theirs.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.name = torch.cuda.get_device_name(device)

    def available(self) -> int:
        """See `MemoryMeter.available`."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return free + torch.cuda.memory_reserved(self.device)

    def peak(self, step: Callable[[], None]) -> int | None:
        """See `MemoryMeter.peak`."""
        garbage_collection_cuda()
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            step()
            torch.cuda.synchronize(self.device)
        except RuntimeError as error:
            if not (isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)):
                raise
            return None
        return torch.cuda.max_memory_reserved(self.device)


class AutoBatch(Callback):
    """Resolves ``data.batch_size: auto`` before training: as large as a share of the free memory suffices for.

    Batches of 1, 2, 4, 8 and 16 images run forwards and backwards through a copy of the network, on the largest canvas
    of the run and in its precision. A straight line through the memory that they take tells the size, as in YOLOv5's
    AutoBatch; room is left for the optimizer and the average of the weights. With several devices each measures, and
    the smallest result counts for all. What is no GPU takes 16 images in all. A resumed run keeps its batch size.
    Lightning's ``BatchSizeFinder`` tries whole training steps until one fails; it refuses several devices, and it takes
    the batch size to be that of one of them.

    Args:
        fraction: Share of the free memory to use.

    Raises:
        ValueError: If the share is not in 0…1.
    """

    def __init__(self, fraction: float = 0.8) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"auto_batch.fraction must be above 0 and at most 1, got {fraction}")
        self.fraction = fraction
        self._data: Any = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Measures, if the data module asks for it; data loaders and optimizer are made after this.

        Raises:
            InputError: If there is not memory enough for one image.
        """
        data: Any = getattr(trainer, "datamodule", None)
        if stage != "fit" or not getattr(data, "auto_batch_size", False):
            return
        self._data = data
        device = trainer.strategy.root_device
        meter = self.memory_meter(device)
        if meter is None:
            size = data.resolve_batch_size(_WITHOUT_MEASURING)
            _say(f"batch_size is {size}; it is measured on GPUs only, not on {device.type.upper()}")
            return
        own = self._measure(trainer, pl_module, device, meter)
        each = int(torch.as_tensor(trainer.strategy.all_gather(torch.tensor(own, device=device))).min())
        if each < 1:
            raise InputError(
                "batch_size auto: the memory does not suffice for one image; use a smaller network or image_size"
            )
        size = data.resolve_batch_size(each * trainer.world_size)
        _say(f"batch_size is {size}: {each} images on each of {trainer.world_size} device(s)")

    def memory_meter(self, device: torch.device) -> MemoryMeter | None:
        """How the memory of a device is measured; None if it is not."""
        return CUDAMemory(device) if device.type == "cuda" else None

    def state_dict(self) -> dict[str, Any]:
        """The batch size that was found."""
        return {} if self._data is None else {"batch_size": self._data.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the batch size of the run that is resumed, whose counters are batches of that size."""
        size = state_dict.get("batch_size")
        if size is not None and self._data is not None and size != self._data.batch_size:
            _say(f"batch_size is {self._data.resolve_batch_size(size)}, that of the run that is resumed")

    def _measure(self, trainer: Any, pl_module: Any, device: torch.device, meter: MemoryMeter) -> int:
        """Images for this device, 0 if not even one fits."""
        canvas = _largest_canvas(trainer)
        available = meter.available()
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), _no_benchmark():
            trial = _Trial(pl_module, trainer.precision_plugin, device)
            needed, failed = _try_sizes(trial, meter, canvas)
            reserved = _COPIES * trial.num_bytes
        del trial
        gc.collect()
        garbage_collection_cuda()
        size = choose_batch_size(needed, failed, self.fraction * available - reserved)
        _say(_reasoning(meter.name, canvas, trainer.precision, needed, failed, available, self.fraction, size))
        return size


@contextmanager
def _no_benchmark() -> Iterator[None]:
    """Sizes that are tried once are not worth a search for the fastest algorithm of each."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def choose_batch_size(needed: Mapping[int, int], failed: int | None, budget: float) -> int:
    """The largest batch that a straight line through measured memory allows.

    Args:
        needed: Bytes for each batch size that was tried with success.
        failed: The first size for which memory did not suffice, if any.
        budget: Bytes to use.

    Returns:
        1…1024, below ``failed``; 0 if no size succeeded.
    """
    if not needed:
        return 0
    largest = max(needed)
    slope, offset = _line(needed)
    size = math.floor((budget - offset) / slope + 1e-6) if slope > 0 else largest
    if failed is not None and size >= failed:
        size = largest
    return min(max(size, 1), _MOST)


def _line(needed: Mapping[int, int]) -> tuple[float, float]:
    """Bytes for each further image, and those without any."""
    if len(needed) < 2:
        return 0.0, float(next(iter(needed.values()), 0))
    slope, offset = np.polyfit(list(needed), list(needed.values()), 1)
    return float(slope), float(offset)


class _Trial:
    """A copy of network and loss that runs forwards and backwards on a device; the originals stay as they are."""

    def __init__(self, pl_module: Any, precision: Any, device: torch.device) -> None:
        self.precision = precision
        self.device = device
        detector, self.loss = copy.deepcopy((pl_module.detector, pl_module.loss))
        self.detector: nn.Module = precision.convert_module(detector).to(device).train()
        self.loss.to(device)
        self.layout = torch.channels_last if getattr(pl_module, "channels_last", False) else torch.contiguous_format
        self.num_bytes = sum(parameter.numel() * parameter.element_size() for parameter in self.detector.parameters())

    def step(self, num_images: int, canvas: tuple[int, int]) -> None:
        """Runs a batch twice, the second time with gradients to add to."""
        for _ in range(2):
            batch = self.precision.convert_input(_batch(num_images, canvas)).to(self.device)
            dtype = next(self.detector.parameters()).dtype
            batch.images = batch.images.to(dtype, memory_format=self.layout).div_(255)
            with self.precision.train_step_context():
                terms: dict[str, Tensor] = self.loss(self.detector(batch.images), batch)
                total = torch.stack(list(terms.values())).sum()
            total.backward()  # type: ignore[no-untyped-call]

    def clear(self) -> None:
        """Frees the gradients."""
        self.detector.zero_grad(set_to_none=True)


def _try_sizes(trial: _Trial, meter: MemoryMeter, canvas: tuple[int, int]) -> tuple[dict[int, int], int | None]:
    """Bytes needed by each size, and the first size that failed."""
    needed: dict[int, int] = {}
    for size in _SIZES:
        trial.clear()
        peak = meter.peak(lambda size=size: trial.step(size, canvas))  # type: ignore[misc]
        if peak is None:
            trial.clear()
            return needed, size
        needed[size] = peak
    return needed, None


def _batch(num_images: int, canvas: tuple[int, int]) -> Batch:
    """Images of noise with boxes all over them."""
    height, width = canvas
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((num_images * _BOXES_PER_IMAGE, 2, 2), generator=generator).sort(dim=1).values
    boxes = corners.flatten(1) * torch.tensor([width, height, width, height])
    return Batch(
        images=torch.randint(0, 256, (num_images, 3, height, width), dtype=torch.uint8, generator=generator),
        boxes=boxes,
        labels=torch.zeros(len(boxes), dtype=torch.long),
        image_index=torch.arange(num_images).repeat_interleave(_BOXES_PER_IMAGE),
        infos=[ImageInfo("", index, canvas) for index in range(num_images)],
    )


def _largest_canvas(trainer: Any) -> tuple[int, int]:
    """Height and width in pixels of the largest images of the run."""
    data = trainer.datamodule
    factor = max([1.0, *(callback.maximum for callback in trainer.callbacks if isinstance(callback, MultiScale))])
    height, width = (math.ceil(side * factor / data.stride) * data.stride for side in data.image_size)
    return height, width


def _reasoning(
    name: str,
    canvas: tuple[int, int],
    precision: str,
    needed: Mapping[int, int],
    failed: int | None,
    available: int,
    fraction: float,
    size: int,
) -> str:
    gib = 2**30
    trials = ", ".join(f"{tried}: {used / gib:.2f}" for tried, used in needed.items())
    if failed is not None:
        trials += f"{', ' if trials else ''}{failed}: not enough memory"
    slope, offset = _line(needed)
    return (
        f"{name}, {available / gib:.2f} GiB free, images of {canvas[0]} × {canvas[1]} in {precision}. "
        f"GiB by batch size: {trials}. That is {offset / gib:.2f} GiB and {slope / gib:.3f} GiB an image, so "
        f"{fraction:.0%} of the free memory suffice for {size}"
    )


def _say(text: str) -> None:
    rank_zero_info(f"AutoBatch: {text}")
