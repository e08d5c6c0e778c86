"""Image files as a source."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from yolo_lightning.data.images import read_image
from yolo_lightning.data.problems import Problem
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Failure, Frame, Source
from yolo_lightning.inference.sources.names import unique_names

__all__ = ["ImageSource"]

_MAX_THREADS = 4
_AHEAD = 2  # images that each thread has decoded or is at


class ImageSource(Source):
    """Image files, in the order given; one that cannot be read is a :class:`Failure`, and the others go on.

    Each file is decoded once, turned upright as its EXIF says, to 8 bits and RGB; transparency is dropped. Several
    threads decode ahead, a few images each.

    Args:
        paths: The files.
        names: Plain name of each frame; None takes those of the files, made unique by :func:`unique_names`.
        descriptions: What each file is called when shown; None takes the paths.
        num_threads: Threads that decode; None takes one for each processor, at most 4.

    Raises:
        InputError: If there is no file.
    """

    def __init__(
        self,
        paths: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        descriptions: Sequence[str] | None = None,
        num_threads: int | None = None,
    ) -> None:
        if not paths:
            raise InputError("there is no image to read")
        self.paths = tuple(os.fspath(path) for path in paths)
        self.names = tuple(unique_names(self.paths) if names is None else names)
        self.descriptions = self.paths if descriptions is None else tuple(descriptions)
        if not len(self.names) == len(self.descriptions) == len(self.paths):
            raise ValueError(
                f"{len(self.paths)} paths but {len(self.names)} names and {len(self.descriptions)} descriptions"
            )
        self.name = self.names[0]
        self.description = self.descriptions[0] if len(self.paths) == 1 else f"{len(self.paths)} images"
        self.num_frames = len(self.paths)
        self._num_threads = min(num_threads or min(os.cpu_count() or 1, _MAX_THREADS), len(self.paths))
        self._pool: ThreadPoolExecutor | None = None

    def __iter__(self) -> Iterator[Event]:
        """The images, and what cannot be read, in the order of the files."""
        files = zip(self.paths, self.names, self.descriptions, strict=True)
        if self._num_threads == 1:
            yield from (_read(*file) for file in files)
            return
        self._pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="decode")
        waiting: deque[Future[Event]] = deque()
        try:
            for file in files:
                waiting.append(self._pool.submit(_read, *file))
                if len(waiting) == _AHEAD * self._num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self.close()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _read(path: str, name: str, description: str) -> Event:
    image = read_image(path)
    if isinstance(image, Problem):
        return Failure(description, f"{image.what}, {image.fix}")
    return Frame(image, description, name)
