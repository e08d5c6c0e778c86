"""Runs to report on, and what is in the page."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.make import write_image
from tests.metrics.make import make_data
from yolo_lightning.metrics import EVALUATION_FILE, StoredEvaluation

SIDE = 200
NAMES = ("cat", "dog", "bird", "fish")
DETECTIONS = [
    # image, class, score, x1, y1, x2, y2
    (0, 0, 0.90, 10, 10, 60, 60),  # 0 right
    (0, 0, 0.80, 11, 11, 60, 60),  # 1 duplicate
    (0, 0, 0.70, 100, 100, 160, 160),  # 2 classification: labelled dog
    (1, 0, 0.60, 20, 20, 40, 28),  # 3 localisation, small
    (1, 1, 0.50, 80, 80, 190, 190),  # 4 right, large
    (1, 0, 0.30, 80, 80, 120, 190),  # 5 both
    (2, 1, 0.40, 150, 0, 190, 40),  # 6 background
    (2, 2, 0.10, 50, 50, 100, 100),  # 7 right, when confidences so low count
    (2, 2, 0.02, 0, 150, 40, 190),  # below the default threshold
]
TARGETS = [
    (0, 0, 10, 10, 60, 60),
    (0, 1, 100, 100, 160, 160),
    (1, 0, 20, 20, 40, 40),
    (1, 1, 80, 80, 190, 190),
    (2, 2, 50, 50, 100, 100),
]
KINDS = ["right", "duplicate", "classification", "localisation", "right", "both", "background", "right", "background"]


def write_run(
    folder: Path,
    detections: Sequence[Sequence[float]] = DETECTIONS,
    targets: Sequence[Sequence[float]] = TARGETS,
    *,
    class_names: Sequence[str] = NAMES,
    file_names: Sequence[str] = ("a/one.png", "a/two.png", "b/three.png", "b/four.png"),
    epoch: int | None = None,
) -> Path:
    """A run directory with an evaluation of square pictures, which are in ``folder/images``."""
    for seed, name in enumerate(file_names):
        write_image(folder / "images" / name, (SIDE, SIDE), seed)
    images = tuple(str(folder / "images" / name) for name in file_names)
    data = make_data(detections, targets, len(class_names), len(images))
    sizes = np.full((len(images), 2), SIDE)
    run = folder / "my run"
    run.mkdir(exist_ok=True)
    evaluation = StoredEvaluation(data, tuple(class_names), images, np.arange(len(images)), sizes, "val", epoch)
    evaluation.save(run / EVALUATION_FILE)
    return run


class Page(HTMLParser):
    """A page as a browser reads it.

    Args:
        path: The file.

    Attributes:
        data: Its JSON.
        tags: Names of all elements.
        scripts: Attributes and content of its scripts.
        policy: Its content security policy.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.title = self.policy = ""
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        self.data: dict[str, Any] = json.loads(self.script("data"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"]

    def handle_data(self, data):
        if self.tags[-1:] == ["script"]:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        if self.tags[-1:] == ["title"]:
            self.title += data

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def script(self, name: str) -> str:
        """The content of a script."""
        return next(text for attributes, text in self.scripts if attributes.get("id") == name)

    def array(self, *path: str) -> np.ndarray:
        """An array of the data."""
        value: Any = self.data
        for name in path:
            value = value[name]
        return np.frombuffer(base64.b64decode(value["base64"]), "<" + value["type"])

    def pictures(self) -> list[bytes | str]:
        """The JPEG of each image, or why there is none."""
        scripts = [script for script in self.scripts if re.fullmatch(r"p\d+", script[0].get("id") or "")]
        assert [attributes["id"] for attributes, _ in scripts] == [f"p{index}" for index in range(len(scripts))]
        return [attributes.get("data-problem") or base64.b64decode(text) for attributes, text in scripts]
