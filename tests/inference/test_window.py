"""The window, looked at and closed as a person does it, on a virtual display."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from tests.displays import wait_for
from yolo_lightning.errors import InputError
from yolo_lightning.inference.window import Window, check_display

BLACK = np.zeros((60, 80, 3), np.uint8)
ORANGE = np.full((60, 80, 3), (255, 128, 0), np.uint8)


@pytest.fixture
def window(display):
    pytest.importorskip("tkinter")
    with Window("test") as window:
        yield window


def test_nothing_is_shown_before_the_first_picture(window, display):
    assert (window.is_open, window.is_shown) == (True, False)
    assert not display.picture().any()


def test_shows_the_newest_picture_in_its_colours(window, display):
    for picture in (BLACK, ORANGE):
        assert window.show(picture)
    seen = display.picture()
    rows, columns = np.nonzero((seen == (255, 128, 0)).all(2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (60, 80, 60 * 80)
    window.show(ORANGE[:30])
    assert (display.picture() == (255, 128, 0)).all(2).sum() == 30 * 80


def test_large_pictures_are_shrunk_to_the_screen(window, display):
    large = np.zeros((2400, 1600, 3), np.uint8)
    large[:, :800] = (0, 200, 0)
    window.show(large)
    green = (display.picture() == (0, 200, 0)).all(2)
    assert green.sum() == pytest.approx(240 * 80, rel=0.03)


@pytest.mark.parametrize("how", ["q", "Escape", "button"])
def test_closed_by_a_person(window, display, how):
    window.show(ORANGE)
    window.show(ORANGE)

    def close():
        display.close_window("test") if how == "button" else display.press(how)

    person = threading.Timer(0.2, close)
    person.start()
    window.wait()
    person.join()
    assert not window.is_open
    assert not window.show(BLACK), "a closed window shows nothing, and says so"
    assert wait_for(lambda: not display.picture().any())


def test_other_keys_do_nothing(window, display):
    window.show(ORANGE)
    display.press("a")
    assert window.show(BLACK)


def test_closed_twice(window):
    window.close()
    window.close()
    window.wait()
    assert not window.is_open


@pytest.mark.parametrize("missing", ["tkinter", "PIL.ImageTk"])
def test_without_tkinter(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "PIL.ImageTk":
        pytest.importorskip("tkinter")
        monkeypatch.delattr("PIL.ImageTk", raising=False)
    with pytest.raises(InputError, match=r"install tkinter for this Python.*leave --view out"):
        check_display()


def test_without_a_display(monkeypatch):
    pytest.importorskip("tkinter")
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InputError, match="no display to view on"):
        check_display()


def test_with_a_display(display):
    pytest.importorskip("tkinter")
    check_display()
    assert not display.picture().any()
