"""Decoded images in memory or on disk, filled as they are read, one copy for all processes."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.memory import available_disk, available_memory
from yolo_lightning.paths import cache_directory

__all__ = ["CachedImages", "cached_on_node"]

_SHARE = 0.8
_PROC_FILES = Path("/proc/self/fd")


class CachedImages(DetectionDataset):
    """A data set whose images are decoded once; from the second reading on they come from memory or disk.

    The images lie in one sparse file without a name, in memory or in the user's cache directory, which all processes of
    a machine map: workers, whether forked or spawned, and ranks (see ``location``). It takes at most 0.8 of what is
    available; images that do not fit are decoded every time. It vanishes with the last process, however that ends.

    Args:
        dataset: Where the images come from.
        image_size: Size (height, width) that images are shrunk to fit before they are kept, sides rounded up as in
            YOLOv5's loader; smaller ones are kept as they are. None keeps the original size.
        kind: ``ram`` or ``disk``.
        location: ``location`` of the cache of another process on this machine, with the same data set and size, to be
            shared; None makes a new one.
        budget: Bytes to use at most; None takes 0.8 of the free memory or disk.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        image_size: tuple[int, int] | None,
        kind: Literal["ram", "disk"] = "ram",
        *,
        location: str | None = None,
        budget: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.class_names = dataset.class_names
        self.image_size_limit = image_size
        self._sizes = np.array([self._stored_size(dataset.image_size(i)) for i in range(len(dataset))], np.int64)
        self._sizes = self._sizes.reshape(-1, 2)
        ends = len(dataset) + np.cumsum(self._sizes.prod(axis=1) * 3)
        self._offsets = np.concatenate([[len(dataset)], ends])
        if location is None:
            length = self._length(kind, budget)
            self._file = _SharedFile.create(length, kind)
        else:
            self._file = _SharedFile.open(location)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": self._file.location}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=_SharedFile.open(state["_file"]))

    @property
    def location(self) -> str:
        """Name by which other processes of this machine can map the cache as long as this process lives."""
        return self._file.location

    @property
    def num_cached(self) -> int:
        """Number of images that are in the cache by now."""
        return int(np.count_nonzero(self._file.content[: len(self)]))

    def path(self, index: int) -> str:
        """File of an image."""
        return self.dataset.path(index)

    def image_size(self, index: int) -> tuple[int, int]:
        """Original size (height, width) in pixels, not that in the cache."""
        return self.dataset.image_size(index)

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels of the original image, and labels (n,)."""
        return self.dataset.annotations(index)

    def outlines(self, index: int) -> list[npt.NDArray[np.float32]]:
        """Outline (k, 2) xy of each box, in pixels of the original image."""
        return self.dataset.outlines(index)

    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        """The image from the cache, read-only; or from the data set if more pixels are asked for than the cache has."""
        height, width = self._sizes[index].tolist()
        is_original = (height, width) == self.dataset.image_size(index)
        if not is_original and (long_side is None or long_side > max(height, width)):
            return self.dataset.read_image(index, long_side)
        begin, end = self._offsets[index : index + 2].tolist()
        content = self._file.content
        fits = end <= len(content)
        if fits and content[index]:
            return content[begin:end].reshape(height, width, 3)
        image = self._resized(self.dataset.read_image(index, None if is_original else max(height, width)), index)
        if fits:
            # Two processes may do this at once; they write the same bytes. The flag comes last.
            self._keep(begin, image, index)
        return image

    def _keep(self, begin: int, image: npt.NDArray[np.uint8], index: int) -> None:
        try:
            self._file.write(begin, image)
            self._file.write(index, np.ones(1, np.uint8))
        except OSError as error:  # other programs took the room
            warnings.warn(f"the image cache cannot take more ({error.strerror}); decoding instead", stacklevel=4)

    def _resized(self, image: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        height, width = self._sizes[index].tolist()
        if image.shape[:2] == (height, width):
            return image
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

    def _stored_size(self, size: tuple[int, int]) -> Sequence[int]:
        if self.image_size_limit is None:
            return size
        ratio = min(limit / side for limit, side in zip(self.image_size_limit, size, strict=True))
        if ratio >= 1:
            return size
        return [min(ceil(side * ratio), limit) for limit, side in zip(self.image_size_limit, size, strict=True)]

    def _length(self, kind: str, budget: int | None) -> int:
        """Length of the file: flags, then as many whole images as the budget allows."""
        if budget is None:
            free = available_memory() if kind == "ram" else available_disk(_folder())
            budget = int(_SHARE * free) if free is not None else int(self._offsets[-1])
        fitting = int(np.searchsorted(self._offsets, budget, side="right")) - 1
        if fitting < len(self):
            needed, allowed = self._offsets[-1] / 2**30, budget / 2**30
            warnings.warn(
                f"the image cache would need {needed:.1f} GiB and {allowed:.1f} GiB may be used ({kind}): "
                f"{max(fitting, 0)} of {len(self)} images are kept, the others decoded every time",
                stacklevel=3,
            )
        return int(self._offsets[max(fitting, 0)])


def cached_on_node(
    dataset: DetectionDataset, image_size: tuple[int, int] | None, kind: Literal["ram", "disk"]
) -> CachedImages:
    """A :class:`CachedImages` that all ranks of this machine share; every rank must call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return CachedImages(dataset, image_size, kind)
    hosts = _gather(socket.gethostname())
    rank = torch.distributed.get_rank()
    leader = hosts.index(hosts[rank])
    cache = CachedImages(dataset, image_size, kind) if rank == leader else None
    location = _gather(cache.location if cache is not None else None)[leader]
    if cache is not None:
        return cache
    try:
        return CachedImages(dataset, image_size, kind, location=location)
    except OSError:  # ranks in containers of their own do not see each other's files
        return CachedImages(dataset, image_size, kind)


def _gather(value: str | None) -> list[str | None]:
    values: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


class _SharedFile:
    """Bytes that several processes map; no one else can see them, and nothing is left when the processes end."""

    def __init__(self, descriptor: int, location: str) -> None:
        self._descriptor = descriptor
        self.location = location
        length = os.fstat(descriptor).st_size
        content = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ) if length else b""
        self.content: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8)
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def create(cls, length: int, kind: str) -> _SharedFile:
        if kind == "ram" and hasattr(os, "memfd_create"):
            descriptor, name = os.memfd_create("yolo-lightning-images"), None
        else:
            descriptor, name = tempfile.mkstemp(prefix="images-", dir=_folder() if kind == "disk" else None)
        os.truncate(descriptor, length)
        if _PROC_FILES.is_dir():
            if name is not None:
                Path(name).unlink()
            return cls(descriptor, f"{_identity(descriptor)}:/proc/{os.getpid()}/fd/{descriptor}")
        file = cls(descriptor, f"{_identity(descriptor)}:{name}")
        weakref.finalize(file, _remove, str(name), os.getpid())
        return file

    @classmethod
    def open(cls, location: str) -> _SharedFile:
        identity, _, name = location.partition(":")
        descriptor = os.open(name, os.O_RDWR)
        if _identity(descriptor) != identity:  # another file under the same name, as in another container
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "the image cache is gone", name)
        return cls(descriptor, location)

    def write(self, begin: int, values: npt.NDArray[np.uint8]) -> None:
        # not through the mapping: on a full disk that would be a signal instead of an error
        if os.pwrite(self._descriptor, np.ascontiguousarray(values).data, begin) < values.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _identity(descriptor: int) -> str:
    state = os.fstat(descriptor)
    return f"{state.st_dev}-{state.st_ino}"


def _remove(name: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker has the object too, but not the file
        Path(name).unlink(missing_ok=True)


def _folder() -> Path:
    folder = cache_directory() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
