"""Filling the image cache before training, with a progress bar."""

from __future__ import annotations

import os
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from yolo_lightning.data.cache import CachedImages

__all__ = ["fill_cache"]

_KINDS = {"ram": "in memory", "disk": "on disk"}


def fill_cache(cache: CachedImages, name: str, position: int = 0, count: int = 1, *, show: bool = True) -> None:
    """Decodes what the cache has room for, in threads.

    Args:
        cache: The cache, which other processes of the machine may fill, too.
        name: What the images are called on the screen.
        position: Which of these processes this is.
        count: Their number.
        show: Whether to show the progress of all of them, and the result.
    """
    num_threads = max(1, min(8, _num_cores() // count))
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


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
