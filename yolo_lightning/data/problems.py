"""What is wrong with a data set: typed records, and how they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from yolo_lightning.errors import InputError
from yolo_lightning.text import printable

__all__ = ["DataError", "Policy", "Problem", "UnreadableImageError", "format_problems"]

Policy = Literal["warn", "strict"]
"""What to do about bad data: report it and leave it out, or raise."""


class DataError(InputError):
    """The data set cannot be used as it is; the message says where, why, and what to do."""


class UnreadableImageError(DataError):
    """An image that was fine when the data set was indexed cannot be read now.

    Args:
        path: File of the image.
        index: Position in the data set.
        reason: What went wrong.
    """

    def __init__(self, path: str, index: int, reason: str) -> None:
        super().__init__(path, index, reason)
        self.path = path
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; restore the file, or take it out of the data set"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Args:
        file: Path of the image or label file.
        line: Line in it, from 1; None if the whole file is meant.
        code: Short stable name of the kind of problem, such as ``class_range``.
        what: What was found.
        fix: What to do about it.
        left_out: Whether the image is left out of the data set because of it.
    """

    file: str
    line: int | None
    code: str
    what: str
    fix: str
    left_out: bool = True

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}, {self.fix}"

    def to_dict(self) -> dict[str, str | int | bool | None]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, str | int | bool | None]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)  # type: ignore[arg-type]


def format_problems(
    problems: Sequence[Problem], root: Path | None = None, limit: int = 20, report: Path | None = None
) -> str:
    """A table of problems as text: ``file:line: what, fix`` and the number of each kind.

    Args:
        problems: All problems.
        root: Folder to which the files are shown relative, to keep rows short.
        limit: Rows to show at most.
        report: File with the full list, named below the table when rows are missing from it.
    """
    lines = [_relative(str(problem), root) for problem in problems[:limit]]
    if len(problems) > limit:
        where = f"; all of them: {report}" if report else ""
        lines.append(f"… and {len(problems) - limit} more{where}")
    lines = [printable(line) for line in lines]
    left_out = len({problem.file for problem in problems if problem.left_out})
    kinds = ", ".join(f"{count} × {code}" for code, count in _counts(problem.code for problem in problems))
    lines.append(f"{len(problems)} problems ({kinds}), {left_out} files left out")
    return "\n".join(lines)


def _counts(codes: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(codes).most_common()


def _relative(text: str, root: Path | None) -> str:
    return text.removeprefix(f"{root}/") if root else text
