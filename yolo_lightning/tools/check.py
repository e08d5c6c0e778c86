"""``yolo-lightning check``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["check"]


def check(data: Path, *, splits: Sequence[Literal["train", "val", "test"]] | None = None, strict: bool = False) -> int:
    """Tells what is in a data set and what is wrong with it.

    Reads the header of every image and every label file of a YOLO-format data set. Prints how many images and boxes
    there are, then every problem as `file:line: what, fix`, then the images that several splits share, as the same file
    or with the same content. Nothing is written into the data set; labels are indexed in the cache directory, where
    training finds them.

    Args:
        data: The data.yaml, or a folder that contains one.
        splits: Splits to check. Default: `train` and `val`, which training needs, and `test` if the file names it.
        strict: Whether everything that is wrong counts, also where no image is left out because of it.

    Returns:
        1 if images are left out, a split cannot be used, or, with `strict`, anything is wrong; else 0.

    Raises:
        DataError: If the yaml is missing or no valid description of a data set.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.data.config import read_config
    from yolo_lightning.data.problems import Problem
    from yolo_lightning.tools.report import class_table, print_line, print_table, split_table
    from yolo_lightning.tools.splits import find_problems, open_split

    config = read_config(data)
    names: Sequence[str] = splits or ("train", "val", *config.entries)
    opened = [open_split(config, name) for name in dict.fromkeys(names)]
    missing = [split for split in opened if isinstance(split, Problem)]
    found = [split for split in opened if not isinstance(split, Problem)]

    print_line(f"{config.file}: {len(config.class_names)} classes")
    if found:
        print_table(split_table(found))
        print_table(class_table(found, config.class_names))
    problems = missing + find_problems(config, found)
    for problem in problems:
        print_line(str(problem))
    print_line(f"{len(problems)} problems" if problems else "Nothing is wrong.")
    return int(any(problem.left_out or strict for problem in problems))
