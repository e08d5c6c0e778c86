"""A data set in YOLO form as an artifact at W&B, which trains on any machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.data import DataError, YOLODataset
from yolo_lightning.data.files import find_images, label_path
from yolo_lightning.weights_and_biases.address import artifact_name
from yolo_lightning.weights_and_biases.dataset_table import add_table

__all__ = ["DATA_FILE", "DatasetArtifact", "build_dataset_artifact", "dataset_artifact_name"]

DATA_FILE = "data.yaml"
"""Name of the description in the artifact."""

_PLAIN_NAMES = {"data", "dataset"}


@dataclass(frozen=True)
class DatasetArtifact:
    """An artifact that is not at W&B yet.

    Args:
        artifact: The wandb artifact.
        names: Name in it of each image, by its local path.
        entries: For each split, what a ``data.yaml`` names as its images, relative to the artifact.
    """

    artifact: Any
    names: Mapping[str, str]
    entries: Mapping[str, str]


def build_dataset_artifact(
    splits: Mapping[str, YOLODataset], name: str, progress: Callable[[], None] = lambda: None
) -> DatasetArtifact:
    """Makes the artifact of a data set: files, a ``data.yaml``, and a table of each split with the boxes.

    A split lies in ``<split>/images`` and ``<split>/labels``, below which files have the names and folders that they
    have from the folder on that holds them all: so they are in the same order, and training is the same. All files
    are in it, those that cannot be used as well. Nothing is copied: the files are read again when they are sent.

    Args:
        splits: Images and labels by split; of one ``data.yaml``.
        name: Name of the artifact.
        progress: Called twice for every image.

    Raises:
        DataError: If a file cannot be read, or has a name that W&B cannot hold.
    """
    names: dict[str, str] = {}
    entries: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    class_names = list(next(iter(splits.values())).class_names)
    artifact = import_wandb().Artifact(artifact_name(name), "dataset")
    for split, dataset in splits.items():
        images = find_images(dataset.config.sources(split), dataset.config.roots())
        names_of_split = _names(split, images)
        _add_files(artifact, names_of_split, progress)
        names |= names_of_split
        entries[split] = _add_list(artifact, split, [names_of_split[image] for image in images])
        add_table(artifact, split, dataset, progress)
        counts[split] = {"images": len(images), "boxes": dataset.index.num_boxes}
    artifact.metadata = {"splits": counts, "class_names": class_names}
    with artifact.new_file(DATA_FILE, encoding="utf-8") as file:
        yaml.safe_dump({**entries, "names": dict(enumerate(class_names))}, file, sort_keys=False, allow_unicode=True)
    return DatasetArtifact(artifact, names, entries)


def dataset_artifact_name(data: Path) -> str:
    """What a data set is called: after its yaml, or the folder of that where all are called alike."""
    name = data.parent.name if data.stem in _PLAIN_NAMES else data.stem
    return artifact_name(name or data.stem)


def _names(split: str, images: Sequence[str]) -> dict[str, str]:
    """Names in the artifact by path; different for different paths, and in the same order."""
    folder = os.path.commonpath([os.path.dirname(image) for image in images])  # noqa: PTH120 - a hundred thousand
    return {image: f"{split}/images/{Path(os.path.relpath(image, folder)).as_posix()}" for image in images}


def _add_files(artifact: Any, names: Mapping[str, str], progress: Callable[[], None]) -> None:
    added = set()
    for image, name in names.items():
        _add_file(artifact, image, name)
        label, label_name = label_path(image), _label_name(name)
        if label_name not in added and os.path.isfile(label):  # noqa: PTH113 - images may share one
            _add_file(artifact, label, label_name)
            added.add(label_name)
        progress()


def _label_name(image: str) -> str:
    """As of any image: the last folder that is called ``images`` is meant."""
    return Path(label_path(str(Path(image)))).as_posix()


def _add_file(artifact: Any, path: str, name: str) -> None:
    try:
        name.encode()
        artifact.add_file(path, name=name, policy="immutable", skip_cache=True)
    except UnicodeEncodeError as error:
        raise DataError(f"{path!r}: W&B takes no such file name; rename the file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read for W&B ({error}); restore the file, or take it out") from error


def _add_list(artifact: Any, split: str, names: Iterable[str]) -> str:
    """What the ``data.yaml`` says of a split: its folder, or a list of files if one is listed more than once."""
    counts = Counter(names)
    if max(counts.values()) == 1:
        return f"{split}/images"
    with artifact.new_file(f"{split}.txt", encoding="utf-8") as file:
        file.writelines(f"./{name}\n" for name in counts.elements())
    return f"{split}.txt"
