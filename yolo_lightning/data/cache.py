"""Decoded images in memory or on disk, one copy for all processes of a machine."""

from __future__ import annotations

import hashlib
import socket
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.memory import available_disk, available_memory
from yolo_lightning.data.problems import DataError, UnreadableImageError
from yolo_lightning.data.shared_file import SharedFile
from yolo_lightning.paths import cache_directory

__all__ = ["CachedImages", "automatic_budget", "cached_on_node"]

_VERSION = 1
_SHARE = 0.8
_SIGNATURE_BYTES = 32
_ABSENT, _CACHED, _UNREADABLE = range(3)
_CHUNK = 512


class CachedImages(DetectionDataset):
    """A data set whose images are decoded once; from the second reading on they come from memory or disk.

    The images lie in one sparse file without a name, which all processes of a machine map: workers, whether forked or
    spawned, and ranks (see ``location``). It takes at most 0.8 of what is available; images that do not fit are decoded
    every time. It vanishes with the last process, however that ends. Only a file on disk that :meth:`fill` has
    completed gets a name, for later runs on the same images in the same state, provided that the data set can tell
    (:meth:`DetectionDataset.identity`).

    Args:
        dataset: Where the images come from.
        image_size: Size (height, width) that images are shrunk to fit before they are kept, sides rounded up as in
            YOLOv5's loader; smaller ones are kept as they are. None keeps the original size.
        kind: ``ram`` or ``disk``.
        location: ``location`` of the cache of another process on this machine, with the same data set and size, to be
            shared; None makes a new one, or opens that of an earlier run.
        budget: Bytes to take at most; None takes 0.8 of the free memory or disk. A file that an earlier run left on
            disk takes nothing more.
        directory: Folder of the files of ``disk``; None takes ``images`` in the user's cache directory.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        image_size: tuple[int, int] | None,
        kind: Literal["ram", "disk"] = "ram",
        *,
        location: str | None = None,
        budget: int | None = None,
        directory: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.class_names = dataset.class_names
        self.image_size_limit = image_size
        self.kind = kind
        self._sizes = np.array([self._stored_size(dataset.image_size(i)) for i in range(len(dataset))], np.int64)
        self._sizes = self._sizes.reshape(-1, 2)
        begin = _SIGNATURE_BYTES + len(dataset)
        self._offsets = np.concatenate([[begin], begin + np.cumsum(self._sizes.prod(axis=1) * 3)])
        self._folder = (directory or cache_directory() / "images") if kind == "disk" else None
        self.published_path, self._signature = self._identify()
        self._found = False
        self._file = SharedFile.open(location) if location is not None else self._open(budget)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": self._file.location}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=SharedFile.open(state["_file"]))

    @property
    def location(self) -> str:
        """Name by which other processes of this machine can map the cache as long as this process lives."""
        return self._file.location

    @property
    def num_fitting(self) -> int:
        """Number of images, from the first on, that there is room for."""
        return len(self._flags(self._file))

    @property
    def num_cached(self) -> int:
        """Number of images that are in the cache by now."""
        return int(np.count_nonzero(self._flags(self._file) == _CACHED))

    @property
    def num_bytes(self) -> int:
        """Memory or disk that the cache takes by now, in bytes, once for all processes."""
        return self._file.num_bytes

    @property
    def max_bytes(self) -> int:
        """Bytes of its budget that the cache takes when it is full."""
        return 0 if self._found else len(self._file.content)

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
        flag = content[_SIGNATURE_BYTES + index] if end <= len(content) else None
        if flag == _CACHED:
            return content[begin:end].reshape(height, width, 3)
        image = self._resized(self.dataset.read_image(index, None if is_original else max(height, width)), index)
        if flag == _ABSENT:
            self._keep(index, image)
        return image

    def fill(self, position: int = 0, count: int = 1, num_threads: int = 1) -> Iterator[int]:
        """Reads the images that there is room for; gives the index of each.

        Several processes share the work without waiting for each other; images that one of them has not come to yet are
        decoded where they are needed.

        Args:
            position: Which process of the machine this is.
            count: Processes of this machine that fill the cache.
            num_threads: Threads to read with.
        """
        own = np.flatnonzero(self._flags(self._file)[position::count] == _ABSENT) * count + position
        with _single_threaded_opencv(), ThreadPoolExecutor(num_threads) as pool:
            for begin in range(0, len(own), _CHUNK):
                yield from pool.map(self._fill_one, own[begin : begin + _CHUNK].tolist())
        # whoever comes last sees that all are there
        if self.published_path is not None and len(own) and self._is_full(self._file):
            self._publish(self.published_path)

    def _fill_one(self, index: int) -> int:
        try:
            self.read_image(index, int(self._sizes[index].max()))
        except UnreadableImageError:  # said when a sample needs it
            self._keep(index, None)
        return index

    def _keep(self, index: int, image: npt.NDArray[np.uint8] | None) -> None:
        # Two processes may do this at once; they write the same bytes. The flag comes last.
        try:
            if image is not None:
                self._file.write(int(self._offsets[index]), image)
            flag = _UNREADABLE if image is None else _CACHED
            self._file.write(_SIGNATURE_BYTES + index, np.full(1, flag, np.uint8))
        except OSError as error:  # other programs took the room
            warnings.warn(f"the image cache cannot take more ({error.strerror}); decoding instead", stacklevel=4)

    def _flags(self, file: SharedFile) -> npt.NDArray[np.uint8]:
        """One for each image that the file has room for."""
        fitting = int(np.searchsorted(self._offsets, len(file.content), side="right")) - 1
        return file.content[_SIGNATURE_BYTES:][: max(0, fitting)]

    def _is_full(self, file: SharedFile) -> bool:
        return bool(np.all(self._flags(file) != _ABSENT))

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

    def _identify(self) -> tuple[Path | None, bytes]:
        """File for later runs, if there can be one, and what tells whether it holds these images."""
        identity = self.dataset.identity() if self._folder is not None else None
        if self._folder is None or identity is None:
            return None, bytes(_SIGNATURE_BYTES)
        name = hashlib.sha256(f"{identity.name}\0{self.image_size_limit}".encode("utf-8", "surrogateescape"))
        state = hashlib.sha256(f"{_VERSION}\0{cv2.__version__}\0{identity.state}".encode())
        state.update(self._sizes.tobytes())
        return self._folder / f"{name.hexdigest()[:24]}.images", state.digest()

    def _open(self, budget: int | None) -> SharedFile:
        length = self._fitting_length(budget)
        if (found := self._open_published(length)) is not None:
            self._found = True
            return found
        if length < self._offsets[-1]:
            self._warn_of_room(length)
        try:
            file = SharedFile.create(length, self._folder)
            if length:
                file.write(0, np.frombuffer(self._signature, np.uint8))
        except OSError as error:
            raise DataError(
                f"there can be no image cache in {self._folder or 'memory'} ({error.strerror}): set cache_directory to "
                "a folder that can be written to, or do without cache"
            ) from error
        return file

    def _open_published(self, length: int) -> SharedFile | None:
        """The file of an earlier run, if it holds these images and as many as this one would."""
        if self.published_path is None:
            return None
        try:
            file = SharedFile.open_published(self.published_path)
        except OSError:
            return None
        same = file.content[:_SIGNATURE_BYTES].tobytes() == self._signature
        return file if same and len(file.content) >= length and self._is_full(file) else None

    def _publish(self, path: Path) -> None:
        try:
            self._file.publish(path)
        except OSError as error:
            warnings.warn(f"the image cache cannot be kept for later runs ({error.strerror})", stacklevel=2)

    def _fitting_length(self, budget: int | None) -> int:
        """Length of the file: signature, flags, then as many whole images as the budget allows."""
        if budget is None:
            budget = automatic_budget(self.kind, self._folder)
        if budget is None or len(self) == 0:
            return int(self._offsets[-1])
        fitting = int(np.searchsorted(self._offsets, budget, side="right")) - 1
        return int(self._offsets[fitting]) if fitting > 0 else 0

    def _warn_of_room(self, length: int) -> None:
        warnings.warn(
            f"the image cache would need {self._offsets[-1] / 2**30:.1f} GiB, which is more than there is room for "
            f"({self.kind}): {int(np.searchsorted(self._offsets, length))} of {len(self)} images are kept, "
            f"{length / 2**30:.1f} GiB, the others decoded every time",
            stacklevel=4,
        )


def automatic_budget(kind: str, folder: Path | None = None) -> int | None:
    """0.8 of the free memory (``ram``), or of the free disk that a folder is on, in bytes; None if unknown.

    Args:
        kind: ``ram`` or ``disk``.
        folder: It need not exist yet; None takes the user's cache directory.
    """
    free = available_memory() if kind == "ram" else available_disk(folder or cache_directory())
    return None if free is None else int(_SHARE * free)


def cached_on_node(
    dataset: DetectionDataset,
    image_size: tuple[int, int] | None,
    kind: Literal["ram", "disk"],
    *,
    budget: int | None = None,
    directory: Path | None = None,
) -> tuple[CachedImages, int, int]:
    """A :class:`CachedImages` that all ranks of this machine share; every rank must call this.

    Returns:
        The cache; which of the processes that share it this is; and their number.
    """
    options: dict[str, Any] = {"budget": budget, "directory": directory}
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return CachedImages(dataset, image_size, kind, **options), 0, 1
    hosts = _gather(socket.gethostname())
    rank = torch.distributed.get_rank()
    leader = hosts.index(hosts[rank])
    cache = CachedImages(dataset, image_size, kind, **options) if rank == leader else None
    location = _gather(cache.location if cache is not None else None)[leader]
    position, count = hosts[:rank].count(hosts[rank]), hosts.count(hosts[rank])
    if cache is not None:
        return cache, position, count
    try:
        return CachedImages(dataset, image_size, kind, location=location, **options), position, count
    except OSError:  # ranks in containers of their own do not see each other's files
        return CachedImages(dataset, image_size, kind, **options), 0, 1


def _gather(value: str | None) -> list[str | None]:
    values: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """OpenCV's own threads would not survive the fork of the workers that follows."""
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(num_threads)
