"""Parsing and checking one label file in YOLO text form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.problems import Problem

__all__ = ["ParsedLabels", "parse_labels"]


@dataclass
class ParsedLabels:
    """The rows of a label file.

    Args:
        labels: (n,) int64 class indices.
        boxes_cxcywh: (n, 4) float32 boxes, normalised to the image, in centre form, as in the file.
        points: (p, 2) float32 polygon corners x, y of all rows, normalised.
        point_counts: (n,) int64 number of polygon corners of each row; 0 for a row that is a box.
        problems: What is wrong with the file.
    """

    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes_cxcywh: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    points: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    problems: list[Problem] = field(default_factory=list)


@dataclass
class _BadRow(Exception):  # noqa: N818
    code: str
    what: str
    fix: str


def parse_labels(content: bytes, file: str, num_classes: int) -> ParsedLabels:
    """Parses rows ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …``, each row by itself.

    A row with three or more corners is a polygon and is reduced to the box around it. A row that repeats an earlier
    one is removed and reported; the order of the others is kept. Any other bad row makes the file a bad one: the result
    then has problems and no rows.

    Args:
        content: The bytes of the file; a byte order mark and any line ends are accepted.
        file: Its path, for messages.
        num_classes: Class indices must be below it.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        bad_line = content.count(b"\n", 0, error.start) + 1
        what = f"byte {content[error.start]:#04x} is no UTF-8 text"
        return ParsedLabels(problems=[Problem(file, bad_line, "encoding", what, "save the file as plain text")])
    rows: dict[tuple[float, ...], tuple[int, list[float]]] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        tokens = line.split()
        if not tokens:
            continue
        try:
            row = _parse_row(tokens, num_classes)
        except _BadRow as bad:
            problems.append(Problem(file, number, bad.code, bad.what, bad.fix))
            continue
        first, _ = rows.setdefault(tuple(row), (number, row))
        if first != number:
            what = f"repeats line {first}"
            problems.append(Problem(file, number, "duplicate", what, "remove the row (it is not used)", left_out=False))
    if any(problem.left_out for problem in problems):
        return ParsedLabels(problems=problems)
    return _assemble([row for _, row in rows.values()], problems)


def _parse_row(tokens: list[str], num_classes: int) -> list[float]:
    values = [_number(token) for token in tokens]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        hint = " (a sixth one may be a confidence)" if len(values) == 6 else ""
        raise _BadRow(
            "columns",
            f"{len(values)} columns where 5 are expected, or an odd number from 7 on for a polygon",
            f"write 'class cx cy w h'{hint}",
        )
    _check_class(values[0], tokens[0], num_classes)
    for value, token in zip(values[1:], tokens[1:], strict=True):
        if not 0.0 <= value <= 1.0:
            fix = "clip the box to the image" if -0.5 < value < 1.5 else "divide pixels by the image's width and height"
            raise _BadRow("coordinate_range", f"coordinate {token} lies outside 0…1", fix)
    return values


def _number(token: str) -> float:
    try:
        value = float(token)
    except ValueError:
        raise _BadRow("number", f"'{token[:40]}' is no number", "write numbers separated by spaces") from None
    if not math.isfinite(value):
        raise _BadRow("number", f"'{token[:40]}' is no finite number", "remove or correct the row")
    return value


def _check_class(value: float, token: str, num_classes: int) -> None:
    if not value.is_integer():
        raise _BadRow("class_integer", f"class {token} is no whole number", "write the index of the class first")
    if not 0 <= value < num_classes:
        raise _BadRow(
            "class_range",
            f"class {token} is not in 0…{num_classes - 1}",
            "correct the row, or 'names' in data.yaml",
        )


def _assemble(rows: list[list[float]], problems: list[Problem]) -> ParsedLabels:
    if not rows:
        return ParsedLabels(problems=problems)
    boxes = np.empty((len(rows), 4), np.float32)
    points = []
    counts = np.zeros(len(rows), np.int64)
    for position, row in enumerate(rows):
        if len(row) == 5:
            boxes[position] = row[1:]
            continue
        polygon = np.array(row[1:], np.float32).reshape(-1, 2)
        low, high = polygon.min(0), polygon.max(0)
        boxes[position] = np.concatenate(((low + high) / 2, high - low))
        points.append(polygon)
        counts[position] = len(polygon)
    return ParsedLabels(
        labels=np.array([int(row[0]) for row in rows], np.int64),
        boxes_cxcywh=boxes,
        points=np.concatenate(points) if points else np.zeros((0, 2), np.float32),
        point_counts=counts,
        problems=problems,
    )
