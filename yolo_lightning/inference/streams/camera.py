"""Cameras of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Unpack

import cv2
import numpy as np
import numpy.typing as npt

from yolo_lightning.errors import InputError
from yolo_lightning.inference.streams.capture import Capture, CaptureError, UnavailableError
from yolo_lightning.inference.streams.live import LiveOptions, LiveSource

__all__ = ["CameraSource", "VideoDevice"]


class VideoDevice(Protocol):
    """What is used of ``cv2.VideoCapture``."""

    def isOpened(self) -> bool:  # noqa: N802
        """Whether there is such a device."""

    def read(self) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        """Whether there is a frame, and the (H, W, 3) uint8 BGR image."""

    def get(self, propId: int) -> float:
        """A property, 0 or less if it is unknown."""

    def release(self) -> None:
        """Lets the device go."""


class CameraSource(LiveSource):
    """Frames of a camera, read by OpenCV.

    A camera that is pulled out and put back is opened again. On Linux, OpenCV itself waits up to 10 s for a frame; the
    gap is reported after ``stall_timeout`` all the same.

    Args:
        index: Which camera, from 0.
        open_device: Opens the camera of an index.
        options: As in :class:`LiveSource`.

    Raises:
        InputError: If the index is negative.
    """

    def __init__(
        self, index: int, *, open_device: Callable[[int], VideoDevice] | None = None, **options: Unpack[LiveOptions]
    ) -> None:
        if index < 0:
            raise InputError(f"camera {index}: cameras are counted from 0")
        super().__init__(
            lambda: _CameraCapture(index, open_device or _open_device),
            name=f"camera_{index}",
            description=f"camera {index}",
            **options,
        )


class _CameraCapture(Capture):
    def __init__(self, index: int, open_device: Callable[[int], VideoDevice]) -> None:
        self._index, self._open_device = index, open_device
        self._device: VideoDevice | None = None

    def open(self) -> None:
        self._device = self._open_device(self._index)
        if not self._device.isOpened():
            raise UnavailableError(
                f"there is no camera {self._index}, another program uses it, or you have no right to: see /dev/video*"
            )
        fps = self._device.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None

    def read(self) -> npt.NDArray[np.uint8] | None:
        assert self._device is not None, "open first"
        there, image = self._device.read()
        if not there or image is None:
            raise CaptureError("the camera gives no frame")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        if self._device is not None:
            self._device.release()


def _open_device(index: int) -> VideoDevice:
    return cv2.VideoCapture(index)  # type: ignore[return-value]  # its stub knows no array type
