"""Tables and lines of text as tools print them, safe for names that come from files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from yolo_lightning.errors import InputError
from yolo_lightning.text import printable, printable_lines
from yolo_lightning.tools.splits import Split

__all__ = ["class_table", "print_line", "print_table", "split_table", "text_table", "write_json"]


def print_line(text: str) -> None:
    """Prints text as it is, however long its lines."""
    _print(Text(printable_lines(text)), soft_wrap=True)


def print_table(table: Table) -> None:
    """Prints a table, at most as wide as the terminal."""
    _print(table)


def write_json(path: Path, content: Any) -> None:
    """Writes a file that the user named; a float that is no number becomes null.

    Raises:
        InputError: If it cannot be written.
    """
    text = json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """A table of texts: the first column to the left, the others to the right, which a narrow terminal does not cut."""
    table = _table(*columns)
    for position, column in enumerate(table.columns[1:], start=1):
        column.min_width = max(map(len, [columns[position], *(row[position] for row in rows)]))
    table.title, table.title_justify = title, "left"
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def split_table(splits: Sequence[Split]) -> Table:
    """Images and boxes of each split; background images have no box."""
    table = _table("split", "images", "left out", "background", "boxes")
    for split in splits:
        index = split.index
        background = index.num_missing + index.num_empty
        _add_row(table, split.name, [len(index), len(split.images) - len(index), background, index.num_boxes])
    return table


def class_table(splits: Sequence[Split], class_names: Sequence[str]) -> Table:
    """Boxes of each class, a column for each split."""
    counts = [np.bincount(split.index.all_labels(), minlength=len(class_names)) for split in splits]
    table = _table("class", *(f"boxes in {split.name}" for split in splits))
    for label, name in enumerate(class_names):
        _add_row(table, name, [int(count[label]) for count in counts])
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first, no_wrap=True, overflow="ellipsis", max_width=40)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add_row(table: Table, name: str, counts: Sequence[int]) -> None:
    table.add_row(Text(printable(name)), *(str(count) for count in counts))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _print(content: Text | Table, soft_wrap: bool = False) -> None:
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(content, soft_wrap=soft_wrap)
    # A terminal that does not know a character shows its escape.
    sys.stdout.write(capture.get().encode(console.encoding, "backslashreplace").decode(console.encoding))
    sys.stdout.flush()  # a pipe or file shows it now, not when a command that waits has ended
