"""Configurations without what nobody else may see."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_lightning.artifacts import ARTIFACT_PREFIX
from yolo_lightning.web import redact

__all__ = ["without_secrets"]

_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential", re.IGNORECASE)
_ADDRESS = re.compile(r"\w+://\S+")
_HIDDEN = "***"


def without_secrets(value: Any) -> Any:
    """Plain values for W&B: passwords, keys and tokens become ``***``, those in addresses of the web included.

    Values of the environment whose names say that they are secret are hidden wherever they stand.
    """
    hidden = [text for name, text in os.environ.items() if _SECRET.search(name) and len(text) > 7]
    return _plain(value, hidden)


def _plain(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _value(str(key), item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, hidden) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value) if isinstance(value, str | Path) else repr(value)
    for secret in hidden:
        text = text.replace(secret, _HIDDEN)
    # W&B's client looks such an address up, or refuses the whole configuration; with one slash we still know it.
    text = text.replace(ARTIFACT_PREFIX, ARTIFACT_PREFIX[:-1])
    return _ADDRESS.sub(lambda match: redact(match.group()), text)


def _value(key: str, value: Any, hidden: list[str]) -> Any:
    return _HIDDEN if _SECRET.search(key) and isinstance(value, str) else _plain(value, hidden)
