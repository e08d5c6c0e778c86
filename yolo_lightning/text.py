"""Text for terminals."""

from __future__ import annotations

__all__ = ["printable", "printable_lines"]


def printable(text: str) -> str:
    """The text with what is no printable character, such as the control codes of a terminal, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, but lines stay lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
