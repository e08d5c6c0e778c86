"""The log that the ``wandb`` client writes: protobuf records in chunks, as LevelDB writes its own.

The file begins with 7 bytes that say what it is; they count as part of the first block of 32 KiB. A chunk is a
checksum, a length, a kind and its bytes, and does not go beyond its block; a record that does is several chunks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2 as pb

from yolo_lightning.errors import InputError

__all__ = ["RecordFile", "read_record_file"]

_MAGIC = b":W&B\xe1\xbe\x00"  # the last byte is the version
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")  # CRC-32 of kind and bytes; number of bytes; kind
_TORN, _FULL, _FIRST, _MIDDLE, _LAST = range(5)


class RecordFile(NamedTuple):
    """What a log holds.

    Attributes:
        records: Every whole record, in the order in which they were written.
        torn: Whether the file ends inside a record: the client was killed, or is still writing.
    """

    records: list[pb.Record]
    torn: bool


def read_record_file(path: Path) -> RecordFile:
    """Reads a ``.wandb`` file, also one that the client had no time to end.

    Raises:
        InputError: If it cannot be read, is something else, or is damaged.
    """
    records: list[pb.Record] = []
    parts: list[bytes] = []
    torn = False
    for kind, content in _read_chunks(path):
        if kind == _TORN:
            torn = True
        elif (kind in (_FULL, _FIRST)) == bool(parts):
            raise InputError(f"{path}: is damaged: a part of a record is missing before record {len(records) + 1}")
        else:
            parts.append(content)
        if kind in (_FULL, _LAST):
            record = _parsed(path, b"".join(parts), len(records) + 1)
            if record.num not in (0, len(records) + 1):  # the client counts them
                raise InputError(f"{path}: is damaged: record {len(records) + 1} is missing, {record.num} comes next")
            records.append(record)
            parts = []
    return RecordFile(records, torn or bool(parts))


def _parsed(path: Path, content: bytes, number: int) -> pb.Record:
    try:
        return pb.Record.FromString(content)
    except DecodeError as error:
        raise InputError(f"{path}: is damaged or of another version of wandb: record {number} ({error})") from error


def _read_chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from _chunks(path, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _chunks(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes of each chunk; ``_TORN`` in the end if the file ends inside one."""
    start, block = 0, file.read(_BLOCK)
    if not block.startswith(_MAGIC[: len(block)]):
        raise InputError(f"{path}: is no log of a W&B run, which begins with {_MAGIC!r}; found {block[:7]!r}")
    at = len(_MAGIC)
    if len(block) < at:  # the client was killed at once
        yield _TORN, b""
    while block:
        while at + _CHUNK.size <= len(block):
            checksum, length, kind = _CHUNK.unpack_from(block, at)
            if not (
                checksum or length or kind or any(block[at:])
            ):  # what a file system leaves of a block that it could not write
                if any(file.read()):
                    raise InputError(f"{path}: is damaged: nothing but zeros at byte {start + at}")
                yield _TORN, b""
                return
            end = at + _CHUNK.size + length
            if not _FULL <= kind <= _LAST or end > _BLOCK:
                raise InputError(f"{path}: is damaged at byte {start + at}")
            if end > len(block):
                yield _TORN, b""
                return
            content = block[end - length : end]
            if zlib.crc32(content, zlib.crc32(bytes([kind]))) != checksum:
                raise InputError(f"{path}: is damaged: wrong checksum at byte {start + at}")
            yield kind, content
            at = end
        if at < len(block) < _BLOCK:
            yield _TORN, b""
        start, at, block = start + len(block), 0, file.read(_BLOCK)
