"""Cameras, by a device that behaves like one of V4L."""

from __future__ import annotations

import pytest

from tests.inference.streams.fakes import QUICK, FakeCamera, capture_threads, kinds
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Frame, Gap
from yolo_lightning.inference.streams import CameraSource


def camera(*devices: FakeCamera, **options) -> tuple[CameraSource, list[int]]:
    opened: list[int] = []
    waiting = iter(devices)

    def open_device(index: int) -> FakeCamera:
        opened.append(index)
        return next(waiting, FakeCamera(None))

    return CameraSource(2, open_device=open_device, **(QUICK | {"policy": "all"} | options)), opened


def test_frames_are_rgb_and_say_which_camera() -> None:
    source, opened = camera(FakeCamera(3))
    frame = next(iter(source))
    assert frame.image[0, 0].tolist() == [2, 20, 10]
    assert (frame.source, frame.name, frame.number) == ("camera 2", "camera_2", 0)
    assert (source.live, source.fps, source.num_frames) == (True, 30, None)
    assert opened[0] == 2
    assert capture_threads() == []


def test_no_camera_is_one_failure_without_further_attempts() -> None:
    source, opened = camera()
    events = list(source)
    assert kinds(events) == [Failure]
    assert "there is no camera 2" in events[0].reason
    assert opened == [2]


def test_pulled_out_and_put_back() -> None:
    devices = [FakeCamera(2), FakeCamera(None), FakeCamera(None), FakeCamera(3)]
    source, opened = camera(*devices, max_retries=3)
    events = list(source)
    assert [type(event) for event in events] == [Frame] * 2 + [Gap] + [Frame] * 3 + [Gap, Failure]
    assert [event.number for event in events if isinstance(event, Frame)] == list(range(5))
    assert [device.released for device in devices] == [1, 1, 1, 1]
    assert len(opened) == 4 + 3


def test_unknown_frame_rate() -> None:
    source, _ = camera(FakeCamera(1, fps=0.0))
    next(iter(source))
    assert source.fps is None


def test_a_device_that_is_not_there() -> None:
    events = list(CameraSource(63))
    assert kinds(events) == [Failure]


def test_negative_index() -> None:
    with pytest.raises(InputError, match="counted from 0"):
        CameraSource(-1)
