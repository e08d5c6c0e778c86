"""Several networks that a command looks at one after the other, read before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector, detector_from_weights, resolve_weights

__all__ = ["NetworkFile", "network_files"]


class NetworkFile(NamedTuple):
    """A network, its file, what it is called in tables, and its classes, which are None in files that do not say."""

    path: Path
    label: str
    detector: Detector
    names: tuple[str, ...] | None


def network_files(weights: Sequence[str], num_classes: int | None) -> Iterator[NetworkFile]:
    """Reads every file once.

    Args:
        weights: Files, or names of published ones; further ones of the same file are left out.
        num_classes: Of the data, if there are any.

    Raises:
        InputError: If a file cannot be read, or its network has other classes than the data.
    """
    paths = list(dict.fromkeys(resolve_weights(file) for file in weights))
    stems = [path.stem for path in paths]
    labels = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    for path, label in zip(paths, labels, strict=True):
        detector, names = detector_from_weights(path)
        if num_classes is not None and detector.num_classes != num_classes:
            raise InputError(
                f"{path}: the network has {detector.num_classes} classes, but the data has {num_classes}: give the "
                "data it was trained for"
            )
        yield NetworkFile(path, label, detector, names)
