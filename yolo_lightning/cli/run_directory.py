"""One new directory for each run, chosen by the first process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from yolo_lightning.paths import check_run_name, new_run_directory

__all__ = ["remove_if_empty", "reserve_run_directory"]

_INHERITED = "YOLO_LIGHTNING_RUN_DIRECTORY"


def reserve_run_directory(root: Path, name: str) -> Path:
    """Makes ``root/name``, or ``root/name-2``, ``-3`` … if it exists; an older run is never overwritten.

    The first process chooses and hands its choice to the processes that it starts. Processes that were started by
    another launcher get it from Lightning, which broadcasts the directory of the logger.

    Raises:
        InputError: If ``name`` is no plain name or the directory cannot be made.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        check_run_name(name)
        return Path(os.environ.get(_INHERITED, root / name))
    directory = new_run_directory(root, name)
    os.environ[_INHERITED] = str(directory.resolve())
    return directory


@contextmanager
def remove_if_empty() -> Iterator[None]:
    """Removes the run directory if the run fails before it wrote anything, so that the next one gets its name."""
    is_first = getattr(rank_zero_only, "rank", 0) == 0
    if is_first:
        os.environ.pop(_INHERITED, None)  # that of an earlier run in this process
    try:
        yield
    except BaseException:
        if is_first and (directory := os.environ.pop(_INHERITED, None)):
            with suppress(OSError):  # it holds something
                Path(directory).rmdir()
        raise
