"""The window of ``detect --view``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from yolo_lightning.closing import Closing
from yolo_lightning.drawing import draw_grid
from yolo_lightning.drawing.boxes import Picture
from yolo_lightning.inference.frames import Source
from yolo_lightning.inference.results import DrawingOptions, Results
from yolo_lightning.inference.window import Window
from yolo_lightning.tools.report import print_line

__all__ = ["DetectionView"]


class DetectionView(Closing):
    """Shows each picture and frame when it is done; several streams side by side, each with its newest frame.

    Args:
        sources: What is detected in.
        drawing: How to draw.

    Raises:
        InputError: If there is no display, or this Python has no tkinter.
    """

    def __init__(self, sources: Sequence[Source], drawing: DrawingOptions) -> None:
        self.drawing = drawing
        self._pictures_only = not any(source.live or source.fps for source in sources)
        self._live = {source.description for source in sources if source.live}
        self._newest: dict[str, Picture] = {}
        self._window = Window("yolo-lightning")

    def close(self) -> None:
        """Closes the window; may be called twice."""
        self._window.close()

    def show(self, results: Results) -> bool:
        """Shows the images of a batch; False once the window is closed."""
        pictures = results.render(**self.drawing)
        for frame, picture in zip(results.frames, pictures, strict=True):
            if frame.source in self._live:
                self._newest[frame.source] = picture
            else:
                self._window.show(picture)
        if self._newest:
            self._window.show(draw_grid(list(self._newest.values())))
        return self._window.is_open

    def stay(self) -> None:
        """Keeps the last picture until the window is closed or Ctrl-C, if there were only pictures and a person waits.

        Without a terminal nobody might be there to close it.
        """
        if self._pictures_only and self._window.is_shown and sys.stderr.isatty():
            with suppress(KeyboardInterrupt):
                print_line("press q in the window, or close it, to end")
                self._window.wait()
