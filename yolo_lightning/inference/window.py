"""A window that shows the newest picture of a video or stream."""

from __future__ import annotations

from time import sleep
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from yolo_lightning.closing import Closing
from yolo_lightning.errors import InputError

__all__ = ["Window", "check_display"]

_TICK = 0.02  # seconds between looks at keys and mouse


class Window(Closing):
    """Shows pictures one after the other; use it from one thread, the main one.

    It appears with the first picture. Closing it, or the keys q and Escape, end it. Pictures larger than the screen are
    shrunk.

    Args:
        title: Of the window.

    Attributes:
        is_open: Whether it was not closed yet.
        is_shown: Whether it is open and shows something.

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
        self._root.withdraw()
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._root.bind("<q>", self.close)
        self._root.bind("<Escape>", self.close)
        self._label: Any = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self.is_open, self.is_shown = True, False

    def show(self, picture: npt.NDArray[np.uint8]) -> bool:
        """Shows a picture (H, W, 3) uint8 RGB; whether the window is still open."""
        if self.is_open:
            image = Image.fromarray(picture)
            image.thumbnail((self._root.winfo_screenwidth(), self._root.winfo_screenheight()))
            photo = self._photo_image(image, master=self._root)
            self._label.configure(image=photo)
            self._label.image = photo  # Tk does not keep it alive
            self._root.deiconify()
            self.is_shown = True
            self._root.update()
        return self.is_open

    def wait(self) -> None:
        """Waits until the window is closed."""
        while self.is_open:  # not Tk's own loop, which does not hear Ctrl-C
            self._root.update()
            sleep(_TICK)

    def close(self, event: object = None) -> None:
        """Closes the window; may be called twice."""
        if self.is_open:
            self.is_open = self.is_shown = False
            self._label.image = None  # here, since it must go in this thread
            self._root.destroy()


def check_display() -> None:
    """Makes sure that a window can be opened.

    Raises:
        InputError: If not.
    """
    Window("yolo-lightning").close()
