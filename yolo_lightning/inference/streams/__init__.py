"""Live sources: cameras, screens, streams. Importing is cheap: each name loads what it needs when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.inference.streams.buffer import Policy
    from yolo_lightning.inference.streams.camera import CameraSource
    from yolo_lightning.inference.streams.capture import Capture, CaptureError, CorruptFrameError, UnavailableError
    from yolo_lightning.inference.streams.live import LiveOptions, LiveSource
    from yolo_lightning.inference.streams.multi import MultiStream
    from yolo_lightning.inference.streams.network import StreamSource
    from yolo_lightning.inference.streams.screen import ScreenSource
    from yolo_lightning.inference.streams.youtube import YouTubeSource

__all__ = [
    "CameraSource",
    "Capture",
    "CaptureError",
    "CorruptFrameError",
    "LiveOptions",
    "LiveSource",
    "MultiStream",
    "Policy",
    "ScreenSource",
    "StreamSource",
    "UnavailableError",
    "YouTubeSource",
]

_MODULES = {
    "CameraSource": "camera",
    "Capture": "capture",
    "CaptureError": "capture",
    "CorruptFrameError": "capture",
    "LiveOptions": "live",
    "LiveSource": "live",
    "MultiStream": "multi",
    "Policy": "buffer",
    "ScreenSource": "screen",
    "StreamSource": "network",
    "UnavailableError": "capture",
    "YouTubeSource": "youtube",
}

__getattr__ = lazy_names(__name__, _MODULES)
