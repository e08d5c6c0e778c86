"""Text for terminals and label files."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["label_line", "printable", "printable_lines"]


def label_line(label: int, values: Iterable[float]) -> str:
    """A line of a YOLO label file: the class, then the box as fractions of the image, and the confidence if wanted."""
    return " ".join([str(label), *(f"{value:.6g}" for value in values)]) + "\n"


def printable(text: str) -> str:
    """The text with what is no printable character, such as the control codes of a terminal, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, but lines stay lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
