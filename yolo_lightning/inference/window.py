"""A window that shows the newest picture of a video or stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from yolo_lightning.errors import InputError

__all__ = ["Window"]


class Window:
    """Shows pictures one after the other; use it from one thread, the main one.

    Closing it, or the keys q and Escape, end it. Pictures larger than the screen are shrunk.

    Args:
        title: Of the window.

    Raises:
        InputError: If there is no display, or this Python has no tkinter.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise InputError(
                f"there is nothing to view with ({error}): install tkinter for this Python (python3-tk on Debian and "
                "Ubuntu), or leave --view out and look at the files"
            ) from error
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise InputError(f"there is no display to view on ({error}): leave --view out") from error
        self._photo_image = ImageTk.PhotoImage
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._root.bind("<q>", self.close)
        self._root.bind("<Escape>", self.close)
        self._label: Any = tkinter.Label(self._root)
        self._label.pack()
        self.is_open = True

    def show(self, picture: npt.NDArray[np.uint8]) -> bool:
        """Shows a picture (H, W, 3) uint8 RGB; whether the window is still open."""
        if self.is_open:
            image = Image.fromarray(picture)
            image.thumbnail((self._root.winfo_screenwidth(), self._root.winfo_screenheight()))
            photo = self._photo_image(image, master=self._root)
            self._label.configure(image=photo)
            self._label.image = photo  # Tk does not keep it alive
            self._root.update()
        return self.is_open

    def close(self, event: object = None) -> None:
        """Closes the window; may be called twice."""
        if self.is_open:
            self.is_open = False
            self._root.destroy()
