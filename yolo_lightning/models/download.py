"""Fetches published YOLOv5 weights when they are asked for by name."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from yolo_lightning.errors import InputError
from yolo_lightning.models.detector import SIZES
from yolo_lightning.paths import cache_directory, safe_name
from yolo_lightning.web import fetch, redact

__all__ = ["OFFICIAL_FILES", "download_file", "download_weights"]

OFFICIAL_FILES = {f"yolov5{letter}{level}.pt": f"{letter}{level}" for level in ("", "6") for letter in SIZES}
"""Names of published files and the size of the network in each."""

_RELEASE = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
_MAX_BYTES = 1 << 30


def download_weights(
    name: str,
    check: Callable[[Path], None],
    base_url: str | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
    force: bool = False,
) -> Path:
    """The published file of this name in the cache directory, downloaded on first use.

    It is put there only when complete and checked, in one step, so that processes may do this at the same time.

    Args:
        name: One of :data:`OFFICIAL_FILES`.
        check: Raises an :class:`InputError` if a file is not what it should be.
        base_url: Address of the folder that holds the file. None takes ``$YOLO_LIGHTNING_WEIGHTS_URL``, or the
            publisher's release.
        timeout: Longest silence of the server in seconds.
        attempts: How often to try.
        force: Download it even if it is there.

    Raises:
        InputError: If the file cannot be had, or is not what it should be; the message says what to do.
    """
    target = cache_directory() / "weights" / name
    if target.is_file() and not force:
        return target
    base_url = base_url or os.environ.get("YOLO_LIGHTNING_WEIGHTS_URL") or _RELEASE
    url = f"{base_url.rstrip('/')}/{name}"
    if not url.startswith(("https://", "http://")):
        raise InputError(
            f"{redact(url)} is no web address: set YOLO_LIGHTNING_WEIGHTS_URL to one that begins with https://"
        )
    Console(stderr=True).print(
        f"Downloading {redact(url)} to {target}. Its publisher, Ultralytics, licenses these weights under AGPL-3.0: "
        "that licence, not this library's, governs what you do with them and with networks trained from them.",
        highlight=False,
        soft_wrap=True,
    )
    _download(url, target, check, timeout, attempts)
    return target


def download_file(url: str, check: Callable[[Path], object], force: bool = False) -> Path:
    """Weights at an address of the web, kept in the cache directory under this address.

    Args:
        url: Begins with ``https://`` or ``http://``.
        check: Raises an :class:`InputError` if the file is none of weights.
        force: Download it even if it is there.

    Raises:
        InputError: If the file cannot be had, or is not what it should be.
    """
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = cache_directory() / "weights" / key / safe_name(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    if force or not target.is_file():
        _download(url, target, check)
    return target


def _download(
    url: str, target: Path, check: Callable[[Path], object], timeout: float = 30.0, attempts: int = 3
) -> None:
    """Puts the file in its place when it is complete and checked."""
    temporary = _temporary_file(target)
    try:
        try:
            fetch(url, temporary, max_bytes=_MAX_BYTES, timeout=timeout, attempts=attempts, title=target.name)
        except OSError as error:
            raise InputError(f"cannot download {redact(url)} ({error}). {_remedy(target)}") from error
        try:
            check(temporary)
        except InputError as error:
            raise InputError(f"what {redact(url)} sent is not {target.name}: {error}. {_remedy(target)}") from error
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_file(target: Path) -> Path:
    """An empty file of its own beside the target."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".part", dir=target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write weights to {target.parent} ({error.strerror}): set YOLO_LIGHTNING_CACHE to another directory"
        ) from error
    os.close(descriptor)
    return Path(name)


def _remedy(target: Path) -> str:
    return (
        f"Download {target.name} by other means and put it at {target}, or give the path of a file that you have, "
        "or train from scratch by giving no weights"
    )
