"""Where the library keeps files of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """The user's cache directory of this library; it need not exist yet.

    ``$YOLO_LIGHTNING_CACHE`` if set, else ``yolo-lightning`` in ``$XDG_CACHE_HOME`` or the platform's place for caches.
    """
    if own := os.environ.get("YOLO_LIGHTNING_CACHE"):
        return Path(own).expanduser().absolute()
    return _user_cache() / "yolo-lightning"


def _user_cache() -> Path:
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"
