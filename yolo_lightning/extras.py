"""Libraries that only some users need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from yolo_lightning.errors import InputError

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Imports an optional library.

    Args:
        module: Its import name.
        extra: The extra of this package that installs it.
        purpose: What it is needed for, for the message: ``"to read videos"``.

    Raises:
        InputError: If it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module.partition('.')[0]} is needed {purpose} ({error}): install it with "
            f"`pip install 'yolo-lightning[{extra}]'`"
        ) from error
