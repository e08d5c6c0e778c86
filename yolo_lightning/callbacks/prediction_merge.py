"""From the parts of all processes to files in the order of the data set, every image exactly once."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from yolo_lightning.callbacks.prediction_files import FORMATS, Format
from yolo_lightning.callbacks.prediction_parts import (
    PartFiles,
    PredictedImage,
    find_repeated,
    read_images,
    read_rows,
)
from yolo_lightning.coco import coco_categories, image_ids, relative_names
from yolo_lightning.errors import InputError

__all__ = ["Expected", "Summary", "merge_parts", "output_names"]

_IMAGES = "images.csv"
_COCO_IMAGES = "images.json"
_PREDICTED, _UNREADABLE, _SKIPPED = "predicted", "could not be read", "not asked for"


@dataclass(frozen=True)
class Expected:
    """What there is to predict.

    Args:
        paths: File of every image of the data set, by its position; None if the data set does not tell.
        unreadable: Positions of those that could not be read.
        left_out: File and reason of those that the data set leaves out, which have no position.
        is_limited: Whether the run was asked to predict only some of them.
    """

    paths: Sequence[str] | None = None
    unreadable: frozenset[int] = frozenset()
    left_out: Sequence[tuple[str, str]] = ()
    is_limited: bool = False


@dataclass(frozen=True)
class Summary:
    """What was written.

    Args:
        num_images: Images that were predicted.
        num_detections: What was found in them.
        num_failed: Images that could not be read.
        files: The files.
    """

    num_images: int
    num_detections: int
    num_failed: int
    files: list[Path] = field(default_factory=list)


def output_names(formats: Iterable[Format]) -> list[str]:
    """Names of the files that :func:`merge_parts` writes."""
    formats = list(dict.fromkeys(formats))
    extra = [_COCO_IMAGES] if "coco" in formats else []
    return [*(FORMATS[name].name for name in formats), *extra, _IMAGES]


def merge_parts(
    parts: Sequence[PartFiles],
    directory: Path,
    formats: Sequence[Format],
    class_names: Sequence[str],
    expected: Expected,
) -> Summary:
    """Writes the files of a run; either all of them or none.

    Args:
        parts: Files of all processes.
        directory: Where to write.
        formats: Which files.
        class_names: Names of the classes.
        expected: What there must be.

    Raises:
        InputError: If an image is missing, or there more than once.
    """
    images = read_images(parts)
    _check_once(images, expected)
    unpredicted = _unpredicted(images, expected)
    ids = _ids(images, unpredicted)
    names = output_names(formats)
    temporary = {name: directory / f".{name}.part" for name in names}
    try:
        are_numbers = all(isinstance(number, int) for number in ids.values())
        with ExitStack() as stack:
            files = []
            for kind in (FORMATS[name] for name in dict.fromkeys(formats)):
                files.append(kind(temporary[kind.name], class_names, ids_are_numbers=are_numbers))
                stack.callback(files[-1].close)
            for image, rows in read_rows(parts, images):
                for file in files:
                    file.add(image, ids[image.index], rows)
        _write_images(temporary[_IMAGES], images, unpredicted, ids, expected.left_out)
        if _COCO_IMAGES in temporary:
            _write_coco_images(temporary[_COCO_IMAGES], images, ids, class_names)
        for name, path in temporary.items():
            path.rename(directory / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return Summary(
        num_images=len(images),
        num_detections=sum(image.count for image in images),
        num_failed=len(expected.unreadable) + len(expected.left_out),
        files=[directory / name for name in names],
    )


def _check_once(images: Sequence[PredictedImage], expected: Expected) -> None:
    if repeated := find_repeated(images):
        raise InputError(
            f"{len(repeated)} images were predicted more than once, such as {repeated[0].path}: the data must give "
            "each to one process, once; a sampler that repeats images for equal shares, as DistributedSampler, does not"
        )
    if expected.paths is None or expected.is_limited:
        return
    missing = set(range(len(expected.paths))) - {image.index for image in images} - expected.unreadable
    if missing:
        raise InputError(
            f"{len(missing)} of {len(expected.paths)} images were not predicted, such as "
            f"{expected.paths[min(missing)]}: the data must give each to one process, once"
        )


def _unpredicted(images: Sequence[PredictedImage], expected: Expected) -> dict[int, tuple[str, str]]:
    """File and reason, by position."""
    predicted = {image.index for image in images}
    return {
        index: (path, _UNREADABLE if index in expected.unreadable else _SKIPPED)
        for index, path in enumerate(expected.paths or ())
        if index not in predicted
    }


def _ids(images: Sequence[PredictedImage], unpredicted: Mapping[int, tuple[str, str]]) -> dict[int, int | str]:
    """COCO's id of each image of the data set, by position; the same whether or not an image could be read."""
    paths = {image.index: image.path for image in images} | {index: path for index, (path, _) in unpredicted.items()}
    order = sorted(paths)
    return dict(zip(order, image_ids([paths[index] for index in order]), strict=True))


def _write_images(
    path: Path,
    images: Sequence[PredictedImage],
    unpredicted: Mapping[int, tuple[str, str]],
    ids: Mapping[int, int | str],
    left_out: Sequence[tuple[str, str]],
) -> None:
    """A row for each image, in the order of the data set; at the end those that it leaves out."""
    rows: dict[int, tuple[object, ...]] = {
        image.index: (image.path, ids[image.index], image.size[1], image.size[0], image.count, _PREDICTED)
        for image in images
    }
    rows |= {index: (file, ids[index], "", "", "", reason) for index, (file, reason) in unpredicted.items()}
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image", "image_id", "width", "height", "num_detections", "status"))
        writer.writerows(rows[index] for index in sorted(rows))
        writer.writerows((name, "", "", "", "", reason) for name, reason in left_out)


def _write_coco_images(
    path: Path, images: Sequence[PredictedImage], ids: Mapping[int, int | str], class_names: Sequence[str]
) -> None:
    """COCO's ``images`` and ``categories``, which the ids of the detections are about."""
    names = relative_names([image.path for image in images])
    listed = [
        {"id": ids[image.index], "file_name": name, "width": image.size[1], "height": image.size[0]}
        for image, name in zip(images, names, strict=True)
    ]
    content = {"images": listed, "categories": coco_categories(class_names)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
