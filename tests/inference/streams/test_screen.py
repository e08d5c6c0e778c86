"""The screen: by a grabber that behaves like mss, and on a virtual one."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from tests.inference.streams.fakes import QUICK, capture_threads, kinds
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame, Gap
from yolo_lightning.inference.streams import ScreenSource


class FakeScreens:
    """Two screens side by side, 40 × 20 and 30 × 20; each pixel is its column, its row and which grab it is."""

    monitors = (
        {"left": 0, "top": 0, "width": 70, "height": 20},
        {"left": 0, "top": 0, "width": 40, "height": 20},
        {"left": 40, "top": 0, "width": 30, "height": 20},
    )

    def __init__(self, fail_at: int | None = None) -> None:
        self.grabs = 0
        self.closed = 0
        self.fail_at = fail_at

    def grab(self, monitor):
        self.grabs += 1
        if self.grabs == self.fail_at:
            raise OSError("the session is locked")
        rows, columns = np.mgrid[: monitor["height"], : monitor["width"]]
        blue = np.full_like(rows, self.grabs)
        return np.dstack([blue, rows + monitor["top"], columns + monitor["left"], blue]).astype(np.uint8)

    def close(self):
        self.closed += 1


def screens(*grabbers: FakeScreens):
    waiting = iter(grabbers)
    return lambda: next(waiting)


@pytest.mark.parametrize(
    ("screen", "region", "corner", "size"),
    [
        (0, None, (0, 0), (20, 70)),
        (1, None, (0, 0), (20, 40)),
        (2, None, (40, 0), (20, 30)),
        (2, (3, 4, 10, 5), (43, 4), (5, 10)),
        (0, (69, 19, 1, 1), (69, 19), (1, 1)),
    ],
)
def test_what_is_grabbed(screen, region, corner, size) -> None:
    grabbers = [FakeScreens(), FakeScreens()]
    frame = next(iter(ScreenSource(screen, region, open_screens=screens(*grabbers))))
    assert frame.size == size
    assert frame.image[0, 0].tolist() == [*corner, 1]
    assert frame.name == f"screen_{screen}"
    assert frame.source == (f"screen {screen} 3 4 10 5" if region == (3, 4, 10, 5) else frame.source)
    assert [grabber.closed for grabber in grabbers] == [1, 1]
    assert capture_threads() == []


@pytest.mark.parametrize(
    ("screen", "region", "message"),
    [
        (3, None, "no screen 3: give 0 for all together, or 1 to 2"),
        (-1, None, "no screen -1"),
        (1, (0, 0, 41, 5), "not within screen 1, which has 40 × 20 pixels"),
        (1, (-1, 0, 4, 5), "not within"),
        (1, (0, 18, 4, 3), "not within"),
        (1, (0, 0, 0, 5), "not within"),
    ],
)
def test_what_is_not_there(screen, region, message) -> None:
    with pytest.raises(InputError, match=message):
        ScreenSource(screen, region, open_screens=FakeScreens)


def test_rate() -> None:
    source = ScreenSource(fps=50, open_screens=FakeScreens, policy="all", stride=2)
    times = []
    for frame in source:
        times.append(frame.time)
        if len(times) == 10:
            break
    assert times[-1] - times[0] > 0.8 * 9 * 2 / 50  # no faster than asked
    assert source.fps == 25
    assert source.num_captured < 40


def test_rate_must_be_positive() -> None:
    with pytest.raises(InputError, match="fps is 0"):
        ScreenSource(fps=0, open_screens=FakeScreens)


def test_slow_rates_are_no_stall_and_stop_at_once() -> None:
    source = ScreenSource(fps=0.01, open_screens=FakeScreens, **QUICK)
    events = iter(source)
    assert isinstance(next(events), Frame)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 1
    assert list(events) == []


def test_a_grab_that_fails_is_a_gap() -> None:
    grabbers = screens(FakeScreens(), FakeScreens(fail_at=3), FakeScreens())
    source = ScreenSource(fps=200, open_screens=grabbers, policy="all", **QUICK)
    events = []
    for event in source:
        events.append(event)
        if len(events) == 5:
            break
    assert [type(event) for event in events] == [Frame, Frame, Gap, Frame, Frame]
    assert "the session is locked" in events[2].reason


def test_no_display(monkeypatch) -> None:
    pytest.importorskip("mss")
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if os.uname().sysname != "Linux":
        pytest.skip("other systems always have a display")
    with pytest.raises(InputError, match=r"no display to grab .* set DISPLAY"):
        ScreenSource()


def test_virtual_screen(display) -> None:
    pytest.importorskip("mss")
    with ScreenSource(1, (10, 20, 100, 50), fps=30, policy="all") as source:
        events = iter(source)
        frames = [next(events) for _ in range(3)]
    assert kinds(frames) == [0, 0, 0]  # nothing is on it
    assert {frame.size for frame in frames} == {(50, 100)}
    assert frames[0].source == "screen 1 10 20 100 50"
    assert capture_threads() == []
    with pytest.raises(InputError, match="320 × 240"):
        ScreenSource(0, (300, 0, 100, 50))
