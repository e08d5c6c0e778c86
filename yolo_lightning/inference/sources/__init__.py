"""Sources that end, and all sources as a person names them.

Importing is cheap: each name loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_lightning.lazy import lazy_names

if TYPE_CHECKING:
    from yolo_lightning.inference.sources.failed import FailedSource
    from yolo_lightning.inference.sources.images import ImageSource
    from yolo_lightning.inference.sources.names import unique_names
    from yolo_lightning.inference.sources.parse import parse_sources
    from yolo_lightning.inference.sources.video import VideoSource
    from yolo_lightning.inference.sources.web import download

__all__ = ["FailedSource", "ImageSource", "VideoSource", "download", "parse_sources", "unique_names"]

_MODULES = {
    "FailedSource": "failed",
    "ImageSource": "images",
    "VideoSource": "video",
    "download": "web",
    "parse_sources": "parse",
    "unique_names": "names",
}

__getattr__ = lazy_names(__name__, _MODULES)
