"""Bytes that the processes of a machine share, in memory or on disk."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["SharedFile"]

_PROC_FILES = Path("/proc/self/fd")


class SharedFile:
    """A file that several processes map. It has no name, so no one else sees it and nothing is left when they end.

    Args:
        descriptor: The open file, which this object closes.
        location: Name by which other processes of this machine can open it as long as this process lives.

    Attributes:
        content: The bytes, read-only.
    """

    def __init__(self, descriptor: int, location: str | None = None) -> None:
        self._descriptor = descriptor
        self.location = location or f"{_identity(descriptor)}:/proc/{os.getpid()}/fd/{descriptor}"
        length = os.fstat(descriptor).st_size
        content = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ) if length else b""
        self.content: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8)
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def create(cls, length: int, folder: Path | None) -> SharedFile:
        """A file of zeros.

        Args:
            length: Bytes.
            folder: Where on disk, made if need be; None means in memory.

        Raises:
            OSError: If there can be none.
        """
        name = None
        if folder is None and hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("yolo-lightning-images")
        else:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = _unnamed(folder)
        os.truncate(descriptor, length)
        if name is None:
            return cls(descriptor)
        file = cls(descriptor, f"{_identity(descriptor)}:{name}")
        weakref.finalize(file, _remove, name, os.getpid())
        return file

    @classmethod
    def open(cls, location: str) -> SharedFile:
        """The file of another process.

        Raises:
            OSError: If it is not there, or is another one, as under the same name in another container.
        """
        identity, _, name = location.partition(":")
        descriptor = os.open(name, os.O_RDWR)
        if _identity(descriptor) != identity:
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "the image cache is gone", name)
        return cls(descriptor, location)

    @classmethod
    def open_published(cls, path: Path) -> SharedFile:
        """The file of an earlier run.

        Raises:
            OSError: If there is none.
        """
        descriptor = os.open(path, os.O_RDONLY)
        return cls(descriptor, None if _PROC_FILES.is_dir() else f"{_identity(descriptor)}:{path}")

    @property
    def num_bytes(self) -> int:
        """What the file takes of memory or disk by now; what was not written takes nothing."""
        return os.fstat(self._descriptor).st_blocks * 512

    def write(self, begin: int, values: npt.NDArray[np.uint8]) -> None:
        """Writes bytes at a position.

        Raises:
            OSError: If there is no room.
        """
        # not through the mapping: on a full disk that would be a signal instead of an error
        if os.pwrite(self._descriptor, np.ascontiguousarray(values).data, begin) < values.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def publish(self, path: Path) -> None:
        """Gives a file on disk a name for later runs, in one step: they see all of it, or what was there before.

        Raises:
            OSError: If the file system cannot name a file later.
        """
        os.fsync(self._descriptor)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        if _PROC_FILES.is_dir():
            root = os.open("/", os.O_RDONLY)  # Python follows the link of a descriptor only from a directory
            try:
                os.link(f"/proc/self/fd/{self._descriptor}", temporary, src_dir_fd=root, follow_symlinks=True)
            finally:
                os.close(root)
        else:
            os.link(self.location.partition(":")[2], temporary)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise


def _unnamed(folder: Path | None) -> tuple[int, str | None]:
    """A file without a name; where the platform has none, with one that is removed in the end."""
    if folder is not None and hasattr(os, "O_TMPFILE") and _PROC_FILES.is_dir():
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), None
        except OSError:  # not every file system has it
            pass
    descriptor, name = tempfile.mkstemp(prefix="images-", dir=folder)
    if not _PROC_FILES.is_dir():
        return descriptor, name
    Path(name).unlink()
    return descriptor, None


def _identity(descriptor: int) -> str:
    state = os.fstat(descriptor)
    return f"{state.st_dev}-{state.st_ino}"


def _remove(name: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker has the object too, but not the file
        Path(name).unlink(missing_ok=True)
