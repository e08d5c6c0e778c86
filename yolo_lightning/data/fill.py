"""The image caches of a run: one budget for all splits, filled before training with a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.cache import CachedImages, automatic_budget, cached_on_node
from yolo_lightning.data.memory import available_cores

__all__ = ["SplitCaches", "fill_cache"]

_KINDS = {"ram": "in memory", "disk": "on disk"}


class SplitCaches:
    """The image caches of several splits within one budget.

    Args:
        kind: ``ram`` or ``disk``.
        budget: Bytes for all of them; None takes 0.8 of what is free when the first is opened, since later, before it
            is full, too much looks free.
        directory: Where caches on disk lie; None takes the user's cache directory.
    """

    def __init__(self, kind: Literal["ram", "disk"], budget: int | None = None, directory: Path | None = None) -> None:
        self.kind = kind
        self.directory = directory
        self._bytes_left = automatic_budget(kind, directory) if budget is None else budget
        self._to_fill: list[Callable[..., None]] = []

    def open(self, dataset: DetectionDataset, image_size: tuple[int, int] | None, name: str) -> CachedImages:
        """The cache of a split, shared by the processes of this machine; each of them must call this."""
        cache, position, count = cached_on_node(
            dataset, image_size, self.kind, budget=self._bytes_left, directory=self.directory
        )
        if self._bytes_left is not None:
            self._bytes_left -= cache.max_bytes
        self._to_fill.append(partial(fill_cache, cache, name, position, count))
        return cache

    def fill(self, *, show: bool) -> None:
        """Fills what was opened. The processes open all before they fill any, so that none waits for another's images.

        Args:
            show: Whether this process shows the progress.
        """
        for fill in self._to_fill:
            fill(show=show)
        self._to_fill.clear()


def fill_cache(cache: CachedImages, name: str, position: int = 0, count: int = 1, *, show: bool = True) -> None:
    """Decodes what the cache has room for, in threads.

    Args:
        cache: The cache, which other processes of the machine may fill, too.
        name: What the images are called on the screen.
        position: Which of these processes this is.
        count: Their number.
        show: Whether to show the progress of all of them, and the result.
    """
    num_threads = max(1, min(8, available_cores() // count))
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
    )
    begin = time.perf_counter()
    title = f"Caching '{name}' {_KINDS[cache.kind]}"
    found = cache.num_cached
    with Progress(*columns, console=console, transient=True, disable=not show) as progress:
        task = progress.add_task(title, total=cache.num_fitting, amount=_amount(cache))
        shown = begin
        for _ in cache.fill(position, count, num_threads):
            if show and time.perf_counter() - shown > 0.2:
                shown = time.perf_counter()
                progress.update(task, completed=cache.num_cached, amount=_amount(cache))
    if show:
        seconds = f"{time.perf_counter() - begin:.1f} s" if cache.num_cached > found else "found there"
        console.print(f"{title}: {_amount(cache)} of {len(cache):,} ({seconds})", soft_wrap=True)


def _amount(cache: CachedImages) -> str:
    return f"{cache.num_bytes / 2**30:.1f} GiB, {cache.num_cached:,} images"
