"""Pictures, videos and crops with what was found."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from yolo_lightning.inference.convert import class_name
from yolo_lightning.inference.frames import Source
from yolo_lightning.inference.pictures import class_directories, file_stem, output_stem, save_crop, save_picture
from yolo_lightning.inference.results import DrawingOptions, Results
from yolo_lightning.inference.writers.video import VideoWriter
from yolo_lightning.paths import new_file

__all__ = ["CropWriter", "PictureWriter"]

_LIVE_FPS = 30.0  # of a camera that does not say


class PictureWriter:
    """Writes images under their names with the detections drawn on them, and videos and streams as ``.mp4``.

    Args:
        directory: Where to write.
        drawing: How to draw.
    """

    def __init__(self, directory: Path, drawing: DrawingOptions) -> None:
        self.directory = directory
        self.drawing = drawing
        self._videos: dict[Source, tuple[VideoWriter, float | None]] = {}

    def __call__(self, result: Results, source: Source) -> None:
        """Draws and writes an image or frame."""
        frame = result.frames[0]
        picture = result.render(**self.drawing)[0]
        if source.fps is None and not source.live:
            save_picture(picture, self.directory, frame)
            return
        if source not in self._videos:
            self._close_ended()
            self._videos[source] = self._open(source, frame.size), frame.time
        video, start = self._videos[source]
        video.write(picture, None if frame.time is None or start is None else frame.time - start)

    def close(self) -> None:
        """Completes the videos."""
        with ExitStack() as stack:  # one that fails does not keep the others from being completed
            for video, _ in self._videos.values():
                stack.callback(video.close)
            self._videos.clear()

    def _close_ended(self) -> None:
        """Completes the video of the source before; those that end come one after the other."""
        for source in [source for source in self._videos if not source.live]:
            self._videos.pop(source)[0].close()

    def _open(self, source: Source, size: tuple[int, int]) -> VideoWriter:
        with new_file(self.directory / f"{file_stem(source.name)}.mp4") as file:
            path = Path(file.name)
        return VideoWriter(path, source.fps or _LIVE_FPS, size, audio_from=getattr(source, "audio", None))


class CropWriter:
    """Writes each object as ``crops/<class>/<image>.jpg``, with some of its surroundings.

    Args:
        directory: Where to make the folder ``crops``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "crops"

    def __call__(self, result: Results, source: Source) -> None:
        """Writes the objects of an image."""
        folders, stem = class_directories(result.names), output_stem(result.frames[0])
        for crop in result.crop():
            save_crop(crop["image"], self.directory / class_name(folders, crop["class"]), stem)

    def close(self) -> None:
        """Nothing is open between calls."""
