"""Sources that end, and all sources as a person names them.

Importing is cheap: each name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
