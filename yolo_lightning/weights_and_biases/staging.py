"""Files that wait to be sent, as they were when they were to be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from yolo_lightning.weights_and_biases.client import RUN_FOLDER
from yolo_lightning.weights_and_biases.ledger import Entry

__all__ = ["release", "stage", "staging_folder"]

_FOLDER = "staging"


def stage(directory: Path, name: str, files: Mapping[str, Path], *, replaced: Collection[str] = ()) -> dict[str, str]:
    """Keeps files as they are now; those that exist.

    Args:
        directory: The run directory.
        name: A folder of its own among what is kept.
        files: The files by the names to keep them under.
        replaced: Names of those that are never written to, only replaced by others: where the file system has links
            they cost no room. The others are copied.

    Returns:
        The absolute paths of those kept, by name.

    Raises:
        OSError: If that fails.
    """
    folder = staging_folder(directory, name)
    kept = {}
    for target, file in files.items():
        if file.is_file():
            _keep(file, folder / target, link=target in replaced)
            kept[target] = str(folder / target)
    return kept


def staging_folder(directory: Path, name: str) -> Path:
    """A folder of what waits, which is there; :func:`release` removes it with the last of its files.

    Args:
        directory: The run directory.
        name: Name of the folder.

    Raises:
        OSError: If it cannot be made.
    """
    folder = directory.absolute() / RUN_FOLDER / _FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def release(entry: Entry, directory: Path) -> None:
    """Lets the files of an entry go that were kept for it; others are left alone."""
    staging = directory.absolute() / RUN_FOLDER / _FOLDER
    for path in map(Path, entry.files.values()):
        if path.is_relative_to(staging):
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):  # it holds others
                path.parent.rmdir()


def _keep(file: Path, target: Path, *, link: bool) -> None:
    target.unlink(missing_ok=True)
    if link:
        with suppress(OSError):
            os.link(file, target)
            return
    shutil.copyfile(file, target)
