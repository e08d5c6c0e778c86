"""Data and pictures as one HTML file that can show nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, BinaryIO

from yolo_lightning.errors import InputError
from yolo_lightning.paths import new_file, replacing

__all__ = ["is_report", "write_page"]

_START = b"<!doctype html>\n<!-- yolo-lightning report -->\n"
_PICTURES = "<!-- pictures -->"
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def write_page(path: Path, content: Mapping[str, Any], pictures: Iterable[bytes | str], *, replace: bool) -> Path:
    """Writes a report.

    Args:
        path: Where to; ``stem-2.suffix`` and so on if that exists.
        content: The data of the page, plain values.
        pictures: A JPEG for each image, or why there is none.
        replace: Whether an older report at this path, though nothing else, is replaced.

    Returns:
        The file that was written, whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    before, after = _frame(content)
    try:
        with _open(path, replace) as (file, written):
            file.write(before)
            for index, picture in enumerate(pictures):
                file.write(_picture(index, picture))
            file.write(after)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; choose another file with --output") from error
    return written


def is_report(path: Path) -> bool:
    """Whether a file is one that ``write_page`` wrote."""
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


def _frame(content: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before the pictures, and behind them."""
    here = files("yolo_lightning.report")
    template, script, style = (
        here.joinpath(name).read_text(encoding="utf-8") for name in ("template.html", "report.js", "report.css")
    )
    # Hashes let in this script and this style alone: even what would break out of the data could not run.
    policy = (
        f"default-src 'none'; img-src blob:; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = Template(template).substitute(
        policy=policy, title=html.escape(str(content["title"])), style=style, script=script, data=_json(content)
    )
    before, _, after = text.partition(_PICTURES)
    return _START + _bytes(before), _bytes(after)


def _picture(index: int, picture: bytes | str) -> bytes:
    """A block of text, which browsers keep but do not read until the script asks for it."""
    if isinstance(picture, str):
        return _bytes(f'<script type="text/plain" id="p{index}" data-problem="{html.escape(picture)}"></script>\n')
    return b'<script type="text/plain" id="p%d">%s</script>\n' % (index, base64.b64encode(picture))


def _json(content: Mapping[str, Any]) -> str:
    """JSON in which no tag can start or end: a class may have any name."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _bytes(text: str) -> bytes:
    """Names of files may hold bytes that are no text; they become question marks."""
    return text.encode(errors="replace")


@contextmanager
def _open(path: Path, replace: bool) -> Iterator[tuple[BinaryIO, Path]]:
    if replace and is_report(path):
        with replacing(path) as temporary, temporary.open("xb") as file:
            yield file, path
        return
    with new_file(path) as file:
        written = Path(file.name)
        try:
            yield file, written
        except BaseException:
            written.unlink(missing_ok=True)
            raise
