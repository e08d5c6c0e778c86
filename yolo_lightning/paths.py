"""Where files go: the library's own, and new ones that never replace others."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from yolo_lightning.errors import InputError

__all__ = [
    "cache_directory",
    "check_run_name",
    "new_directory",
    "new_file",
    "new_run_directory",
    "replacing",
    "safe_name",
    "write_new_file",
    "writing_run",
]

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_END = re.compile(r"[\s.]+\Z")
_MOST_BYTES = 200  # file systems allow 255; numbers and endings come behind


def cache_directory() -> Path:
    """The user's cache directory of this library; it need not exist yet.

    ``$YOLO_LIGHTNING_CACHE`` if set, else ``yolo-lightning`` in ``$XDG_CACHE_HOME`` or the platform's place for caches.
    """
    if own := os.environ.get("YOLO_LIGHTNING_CACHE"):
        return Path(own).expanduser().absolute()
    return _user_cache() / "yolo-lightning"


def new_directory(path: Path) -> Path:
    """Makes ``path``, or ``path-2``, ``path-3`` … if it exists, with all directories above it.

    Raises:
        OSError: If it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for candidate in _numbered(path.parent, path.name, ""):
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("unreachable")


def new_run_directory(root: Path, name: str) -> Path:
    """Makes ``root/name``, or ``root/name-2``, ``-3`` … if it exists: the directory of a run.

    Raises:
        InputError: If ``name`` is no plain name or the directory cannot be made.
    """
    check_run_name(name)
    try:
        return new_directory(root / name)
    except OSError as error:
        raise InputError(f"cannot make a run directory in {root}: {error}; choose another with --runs") from error


@contextmanager
def writing_run(directory: Path) -> Iterator[None]:
    """Says what to do if a file of a run directory cannot be written in the block.

    Raises:
        InputError: If it cannot.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {directory}: {error}; choose another directory with --runs") from error


def check_run_name(name: str) -> None:
    """Makes sure that a run directory can have this name.

    Raises:
        InputError: If it is no plain name.
    """
    if not name or Path(name).name != name:
        raise InputError(f"run name {name!r} must be a plain directory name; use --runs for the directory above it")


def new_file(path: Path) -> BinaryIO:
    """Opens ``path`` for writing, or ``stem-2.suffix``, ``stem-3.suffix`` … if it exists; ``.name`` tells which.

    Raises:
        OSError: If it cannot be made.
    """
    for candidate in _numbered(path.parent, path.stem, path.suffix):
        try:
            return candidate.open("xb")
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def write_new_file(path: Path, content: bytes) -> Path:
    """Writes a whole file, named as :func:`new_file` names it; nothing is left if that fails.

    Raises:
        OSError: If it cannot be written.
    """
    with new_file(path) as file:
        written = Path(file.name)
        try:
            file.write(content)
            file.flush()
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    return written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place when the block ends well, and else is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A name as a plain file or directory name on any system.

    Separators and what Windows forbids become ``_``, and so do names that mean something else: empty, ``.``, ``..``,
    ``con``. Other letters, accents and scripts stay. Different names may become equal.
    """
    name = _FORBIDDEN.sub("_", name.encode(errors="replace").decode()).lstrip()
    name = _END.sub("", name.encode()[:_MOST_BYTES].decode(errors="ignore"))
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _numbered(parent: Path, stem: str, suffix: str) -> Iterator[Path]:
    yield parent / f"{stem}{suffix}"
    for number in count(2):
        yield parent / f"{stem}-{number}{suffix}"


def _user_cache() -> Path:
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"
