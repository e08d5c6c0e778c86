"""What was found, in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from yolo_lightning.inference.convert import class_name
from yolo_lightning.inference.frames import Frame
from yolo_lightning.text import printable
from yolo_lightning.types import Detections

__all__ = ["count_objects", "describe_image", "mean_speed"]

Speed = Mapping[str, float]


def count_objects(found: Detections, class_names: Sequence[str]) -> str:
    """Numbers of objects by class: ``4 persons, 1 bus``; ``(no detections)`` if there is none."""
    counts = sorted(Counter(found.labels.tolist()).items())
    words = [f"{count} {class_name(class_names, label)}{'s' if count > 1 else ''}" for label, count in counts]
    return ", ".join(words) or "(no detections)"


def describe_image(frame: Frame, found: Detections, class_names: Sequence[str]) -> str:
    """Name, height and width, and what is in it: ``bus.jpg 1080x810 4 persons, 1 bus``, ``clip.mp4 frame 7 …``."""
    number = "" if frame.number is None else f" frame {frame.number}"
    return printable(f"{frame.name}{number} {frame.size[0]}x{frame.size[1]} {count_objects(found, class_names)}")


def mean_speed(parts: Sequence[tuple[Speed | None, int]]) -> dict[str, float] | None:
    """The speed of several parts, over the images whose speed is known.

    Args:
        parts: Milliseconds per image of each stage, and the number of images.
    """
    known = [(speed, count) for speed, count in parts if speed is not None and count]
    means = {}
    for stage in dict.fromkeys(stage for speed, _ in known for stage in speed):
        values = [(speed[stage], count) for speed, count in known if stage in speed]
        means[stage] = sum(value * count for value, count in values) / sum(count for _, count in values)
    return means or None
