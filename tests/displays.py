"""A display without a monitor, with hands for its keyboard and its windows."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest

__all__ = ["Display", "virtual_display"]


class _ClientMessage(ctypes.Structure):
    """``XClientMessageEvent``, padded to the size of an ``XEvent``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    )


class Display:
    """What a person sees and does; skips the test where the libraries of X are missing.

    Args:
        name: As in ``$DISPLAY``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def picture(self) -> npt.NDArray[np.uint8]:
        """What is on the screen, (H, W, 3) uint8 RGB."""
        mss = pytest.importorskip("mss")
        with (mss.MSS if hasattr(mss, "MSS") else mss.mss)(display=self.name) as screens:
            return np.asarray(screens.grab(screens.monitors[0]))[..., 2::-1].copy()

    def press(self, key: str) -> None:
        """Presses a key, with the pointer at the upper left, where windows are."""
        with self._connection() as (x11, display, root):
            xtst = _library("Xtst")
            x11.XWarpPointer(display, 0, root, 0, 0, 0, 0, 5, 5)
            x11.XSync(display, 0)
            time.sleep(0.1)
            code = x11.XKeysymToKeycode(display, x11.XStringToKeysym(key.encode()))
            for down in (1, 0):
                xtst.XTestFakeKeyEvent(ctypes.c_void_p(display), ctypes.c_uint(code), down, ctypes.c_ulong(0))
            x11.XSync(display, 0)

    def close_window(self, title: str) -> None:
        """Asks the windows of this title to close, as their close buttons do."""
        with self._connection() as (x11, display, root):
            for window in _children(x11, display, root):
                name = ctypes.c_char_p()
                if not x11.XFetchName(display, window, ctypes.byref(name)) or name.value != title.encode():
                    continue
                message = _ClientMessage(type=33, window=window, format=32)
                message.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
                message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
                x11.XSendEvent(display, window, 0, 0, ctypes.byref(message))
            x11.XSync(display, 0)

    @contextmanager
    def _connection(self) -> Iterator[tuple[ctypes.CDLL, int, int]]:
        x11 = _library("X11")
        for name in ("XOpenDisplay", "XDefaultRootWindow", "XStringToKeysym", "XInternAtom"):
            getattr(x11, name).restype = ctypes.c_void_p if name == "XOpenDisplay" else ctypes.c_ulong
        pointer, window, number = ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int
        x11.XDefaultRootWindow.argtypes = [pointer]
        x11.XWarpPointer.argtypes = [pointer, window, window, number, number, number, number, number, number]
        x11.XSync.argtypes = [pointer, number]
        x11.XKeysymToKeycode.argtypes = [pointer, window]
        x11.XInternAtom.argtypes = [pointer, ctypes.c_char_p, number]
        x11.XFetchName.argtypes = [pointer, window, pointer]
        x11.XSendEvent.argtypes = [pointer, window, number, ctypes.c_long, pointer]
        x11.XCloseDisplay.argtypes = [pointer]
        display = x11.XOpenDisplay(self.name.encode())
        assert display, f"cannot open {self.name}"
        try:
            yield x11, display, x11.XDefaultRootWindow(display)
        finally:
            x11.XCloseDisplay(display)


@contextmanager
def virtual_display(size: str = "320x240") -> Iterator[Display]:
    """An X server of its own, on a free display; skips the test without Xvfb."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            name = ready.readline().strip()
        assert name, "Xvfb did not start"
        yield Display(f":{name}")
    finally:
        server.terminate()
        server.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return true


def _library(name: str) -> ctypes.CDLL:
    path = ctypes.util.find_library(name)
    if path is None:
        pytest.skip(f"needs lib{name}")
    return ctypes.CDLL(path)


def _children(x11: ctypes.CDLL, display: int, root: int) -> list[int]:
    found, count = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
    ignored = ctypes.c_ulong()
    x11.XQueryTree.argtypes = None
    x11.XQueryTree(
        ctypes.c_void_p(display),
        ctypes.c_ulong(root),
        ctypes.byref(ignored),
        ctypes.byref(ignored),
        ctypes.byref(found),
        ctypes.byref(count),
    )
    return [found[index] for index in range(count.value)]
