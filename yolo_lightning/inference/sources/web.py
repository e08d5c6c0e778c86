"""Pictures and videos from the web, as files."""

from __future__ import annotations

import os
import re
import tempfile
import urllib.parse
from itertools import count
from pathlib import Path

from yolo_lightning.errors import InputError
from yolo_lightning.web import fetch, redact

__all__ = ["download"]

_MAX_BYTES = 4 << 30
_MAX_NAME = 100
_NOT_PLAIN = re.compile(r"[^\w.+-]+")


def download(
    url: str,
    directory: Path,
    *,
    allow_private: bool = True,
    max_bytes: int = _MAX_BYTES,
    timeout: float = 30.0,
    attempts: int = 3,
) -> Path:
    """Downloads a file into a directory, under its own name made plain; it is there only once it is complete.

    A file that is there already is not replaced: a number is added to the name.

    Args:
        url: ``http://`` or ``https://``; at most 5 redirects, to such addresses only, are followed.
        directory: It is made if missing.
        allow_private: Whether the address, or where it redirects, may be in a private network.
        max_bytes: Largest file taken.
        timeout: Longest silence of the server in seconds.
        attempts: How often to try.

    Raises:
        InputError: If it cannot be had; the message holds no password.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"{redact(url)}: can only download from http:// and https://")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".download-", suffix=".part", dir=directory)
    except OSError as error:
        raise InputError(f"cannot write to {directory} ({error.strerror}), where {redact(url)} was to go") from error
    os.close(descriptor)
    temporary = Path(name)
    options = {"timeout": timeout, "attempts": attempts, "allow_private": allow_private}
    try:
        fetch(url, temporary, max_bytes=max_bytes, title=_name(url), **options)  # type: ignore[arg-type]
        return _put(temporary, directory, _name(url))
    except OSError as error:
        raise InputError(f"cannot download {redact(url)} ({error}): check the address, or give a file") from error
    finally:
        temporary.unlink(missing_ok=True)


def _name(url: str) -> str:
    """The last part of the address without what means something to a file system or a terminal."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rstrip("/").rpartition("/")[2]
    stem, ending = os.path.splitext(_NOT_PLAIN.sub("_", last).lstrip("."))  # noqa: PTH122
    return f"{stem[: _MAX_NAME - len(ending)] or 'download'}{ending[:_MAX_NAME]}"


def _put(temporary: Path, directory: Path, name: str) -> Path:
    """Gives the file its name, or that with a number if it is taken."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    for number in count(1):
        target = directory / (name if number == 1 else f"{stem}_{number}{ending}")
        try:
            target.touch(exist_ok=False)  # ours from now on
        except FileExistsError:
            continue
        return temporary.replace(target)
    raise AssertionError
