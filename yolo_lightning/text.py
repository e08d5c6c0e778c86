"""Text for terminals and label files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["describe_speed", "first_line", "label_line", "printable", "printable_lines"]


def describe_speed(speed: Mapping[str, float], input_sizes: Iterable[tuple[int, int]] = ()) -> str:
    """Milliseconds of each stage, and what the network saw: ``2.1 ms preprocess, 30.2 ms inference at 640x480``."""
    stages = ", ".join(f"{milliseconds:.1f} ms {stage}" for stage, milliseconds in speed.items())
    sizes = sorted({f"{height}x{width}" for height, width in input_sizes})
    seen = f" at {sizes[0]}" if len(sizes) == 1 else f" at {len(sizes)} sizes" if sizes else ""
    return f"{stages}{seen}"


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    lines = [line.strip() for line in str(error).splitlines()]
    # OpenVINO begins with places in its own source.
    lines = [line for line in lines if line and not line.startswith("Exception from ")]
    return lines[0] if lines else type(error).__name__


def label_line(label: int, values: Iterable[float]) -> str:
    """A line of a YOLO label file: the class, then the box as fractions of the image, and the confidence if wanted."""
    return " ".join([str(label), *(f"{value:.6g}" for value in values)]) + "\n"


def printable(text: str) -> str:
    """The text with what is no printable character, such as the control codes of a terminal, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, but lines stay lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
