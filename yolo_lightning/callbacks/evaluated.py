"""Which images an evaluation looks at."""

from __future__ import annotations

from typing import Any

__all__ = ["evaluated_split"]


def evaluated_split(trainer: Any) -> str:
    """``train``, ``val`` or ``test``: what ``validate``, ``test`` or the validation of ``fit`` looks at."""
    if trainer.state.fn == "test":
        return "test"
    if trainer.state.fn == "validate":
        return str(getattr(getattr(trainer, "datamodule", None), "validate_split", "val"))
    return "val"
