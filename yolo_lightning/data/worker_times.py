"""How long each worker of a data loader takes for its samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

__all__ = ["WorkerTimes"]

_MOST_WORKERS = 256


class WorkerTimes:
    """Seconds and samples of each worker, in memory that all processes share; each worker writes its own row only."""

    def __init__(self) -> None:
        self._sums = torch.zeros(_MOST_WORKERS, 2, dtype=torch.float64)
        self._sums.share_memory_()  # type: ignore[no-untyped-call]

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Counts what is done inside as the making of one sample."""
        begin = time.perf_counter()
        yield
        info = get_worker_info()
        worker = 0 if info is None else info.id
        if worker < _MOST_WORKERS:
            self._sums[worker] += torch.tensor([time.perf_counter() - begin, 1.0], dtype=torch.float64)

    def totals(self) -> npt.NDArray[np.float64]:
        """(256, 2) seconds and samples so far of each worker; without workers the first row is this process."""
        return self._sums.numpy().copy()
