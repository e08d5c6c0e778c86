"""Finding the images of a split, and the label file of an image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from yolo_lightning.data.problems import DataError

__all__ = ["IMAGE_SUFFIXES", "find_images", "label_path"]

IMAGE_SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"})
"""File name endings that count as images, in lower case."""

_IMAGES = f"{os.sep}images{os.sep}"
_LABELS = f"{os.sep}labels{os.sep}"


def find_images(sources: Iterable[Path], roots: Iterable[Path]) -> list[str]:
    """Absolute paths of the images in folders (searched deeply) and text files that list images; sorted.

    Hidden files are passed over, links are followed, and loops of links are walked once. A listed image is named
    relative to the list (``./``), to the list or one of the roots (other relative names), or absolutely.

    Args:
        sources: Folders and ``.txt`` files.
        roots: Folders that listed names may count from besides that of the list.

    Raises:
        DataError: If a source is neither, or holds no image.
    """
    roots = tuple(roots)
    images: list[str] = []
    for source in sources:
        if source.is_dir():
            found = list(_walk(str(source), set()))
        elif source.suffix.lower() == ".txt":
            found = _read_list(source, roots)
        else:
            raise DataError(f"{source}: is no folder and no .txt file; name a folder of images or a list of them")
        if not found:
            endings = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise DataError(
                f"{source}: holds no images (known endings: {endings}); put some there, or name another place"
            )
        images += found
    return sorted(images)


def label_path(image: str) -> str:
    """The label file of an image: the last folder ``images`` becomes ``labels``, the ending ``.txt``."""
    head, separator, tail = image.rpartition(_IMAGES)
    return os.path.splitext(f"{head}{_LABELS}{tail}" if separator else image)[0] + ".txt"  # noqa: PTH122


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    # os.scandir rather than pathlib: a hundred thousand images in tenths of a second
    identity = os.stat(folder)  # noqa: PTH116
    if (identity.st_dev, identity.st_ino) in seen:
        return
    seen.add((identity.st_dev, identity.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, seen)
            elif _is_image(entry.name) and entry.is_file():
                yield entry.path


def _read_list(file: Path, roots: tuple[Path, ...]) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: is no readable UTF-8 text ({error}); list one image per line") from error
    names = [line.strip() for line in lines]
    names = [name for name in names if name and _is_image(name)]
    base = _base(file, names, roots)
    return [os.path.abspath(_join(name, file, base)) for name in names]  # noqa: PTH100


def _base(file: Path, names: list[str], roots: tuple[Path, ...]) -> Path:
    """The folder in which the first relative name exists; one look, not one for each of many images."""
    relative = next((name for name in names if not name.startswith("./") and not Path(name).is_absolute()), None)
    candidates = (file.parent, *roots, Path.cwd())
    if relative is None:
        return file.parent
    return next((folder for folder in candidates if (folder / relative).exists()), file.parent)


def _join(name: str, file: Path, base: Path) -> str:
    return os.path.join(file.parent if name.startswith("./") else base, name)  # noqa: PTH118


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
