"""The splits of a data set, with what is wrong with each and between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolo_lightning.data.config import DatasetConfig
from yolo_lightning.data.files import find_images
from yolo_lightning.data.index import LabelIndex, build_index
from yolo_lightning.data.problems import DataError, Problem
from yolo_lightning.tools.duplicates import shared_images

__all__ = ["Split", "find_problems", "open_split"]


@dataclass(frozen=True)
class Split:
    """A split that was found.

    Args:
        name: ``train``, ``val`` or ``test``.
        images: Absolute paths of all its images, also of those that cannot be used.
        index: Its labels.
    """

    name: str
    images: list[str]
    index: LabelIndex


def open_split(config: DatasetConfig, name: str) -> Split | Problem:
    """Reads the labels of a split; what is wrong if its images are not there."""
    try:
        images = find_images(config.sources(name), config.roots())
    except (DataError, OSError) as error:
        return Problem(str(config.file), None, "split", f"split '{name}' cannot be read: {error}", "then check again")
    # The name under which YOLODataset looks for the index.
    return Split(name, images, build_index(images, name=f"{config.file}:{name}", num_classes=len(config.class_names)))


def find_problems(config: DatasetConfig, splits: Sequence[Split]) -> list[Problem]:
    """What is wrong with splits that were found: with files, with a split as a whole, and between splits."""
    files = [problem for split in splits for problem in split.index.problems]
    whole = [problem for split in splits for problem in _without_content(str(config.file), split)]
    return [*files, *whole, *_shared(splits)]


def _without_content(file: str, split: Split) -> list[Problem]:
    if len(split.index) == 0:
        what = f"none of the {len(split.images)} images of '{split.name}' can be used"
        return [Problem(file, None, "no_image", what, "correct what is said about them")]
    if split.index.num_boxes == 0:
        what = f"none of the {len(split.index)} images of '{split.name}' has a box"
        fix = "put labels into folders named 'labels' beside those named 'images'"
        # Nothing can be learnt without a box; there may be reason to evaluate on background alone.
        return [Problem(file, None, "no_box", what, fix, left_out=split.name == "train")]
    return []


def _shared(splits: Sequence[Split]) -> list[Problem]:
    """Images that several splits share: figures of the second look better than they are."""
    problems = []
    for shared in shared_images({split.name: split.images for split in splits}):
        (first, file), *others = shared.files
        copies = ", ".join(f"'{name}' as {path}" for name, path in others)
        kind = "the same file" if shared.same_file else "the same content"
        what = f"is in '{first}' and in {copies} ({kind})"
        problems.append(Problem(file, None, "shared", what, "keep it in one split", left_out=False))
    return problems
