"""Configurations that come with the library."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_config", "shipped_configs"]

_PACKAGE = Path(__file__).parent
_FOLDER = "configs"
_SUFFIX = ".yaml"


def shipped_configs() -> dict[str, Path]:
    """The files by name, such as ``quickstart`` or ``model/yolov5s``; of a checkout those of its ``configs``."""
    installed, checkout = _PACKAGE / _FOLDER, _PACKAGE.parent / _FOLDER
    folder = installed if installed.is_dir() else checkout
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob(f"*{_SUFFIX}"))}


def find_config(name: str) -> Path | None:
    """The shipped file of a name, also with ``configs/`` before it or ``.yaml`` behind it; None if there is none."""
    return shipped_configs().get(name.removeprefix(f"{_FOLDER}/").removesuffix(_SUFFIX))
