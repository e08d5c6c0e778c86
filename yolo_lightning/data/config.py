"""Reading ``data.yaml``: class names, and where the images of each split are, on disk or at W&B."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from yolo_lightning.artifacts import ARTIFACT_PREFIX, artifact_address, fetch_artifact, pin_artifact
from yolo_lightning.data.problems import DataError

__all__ = ["DatasetConfig", "read_config"]

_ALIASES = {"val": ("val", "valid", "validation")}
_PREFERRED = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


@dataclass(frozen=True)
class DatasetConfig:
    """A ``data.yaml`` that was read and checked; the images are not looked for yet.

    Args:
        file: The yaml file.
        class_names: Name of each class, in the order of the class index.
        root: The ``path`` key as written, or None.
        entries: For each split, its folders and list files as written, or addresses of artifacts at W&B.
        artifact: Address, with its version, of the artifact that the file is from; None if it is the user's.
    """

    file: Path
    class_names: tuple[str, ...]
    root: str | None = None
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    artifact: str | None = None

    def sources(self, split: str) -> tuple[Path, ...]:
        """Folders and list files of a split; they exist.

        A relative ``path`` counts from the folder of the yaml, else from the working directory; where it does not
        exist, as in many exported archives, the folder of the yaml takes its place. An entry that starts with ``../``
        and does not exist is tried without it, as Roboflow's exports need. What is at W&B is downloaded on first use.

        Raises:
            DataError: If the split is not in the file, or its images are not there.
            InputError: If an artifact cannot be had.
        """
        if split not in self.entries:
            raise DataError(
                f"{self.file}: has no key '{split}' (found: {', '.join(self.entries) or 'no split'}); "
                f"add '{split}: <folder of images, or a .txt file that lists them>'"
            )
        found: list[Path] = []
        for entry in self.entries[split]:
            address = artifact_address(entry)
            found += (
                [self._resolve(split, entry)]
                if address is None
                else _split_of_artifact(address, split, self.class_names)
            )
        if self.artifact is not None and not all(path.is_relative_to(self.file.parent) for path in found):
            raise DataError(f"{self.file}: key '{split}' leads out of the artifact {self.artifact} that it is from")
        return tuple(found)

    def addresses(self) -> tuple[str, ...]:
        """Addresses of artifacts that are written in the file, as they are written."""
        texts = (self.root or "", *(entry for entries in self.entries.values() for entry in entries))
        return tuple(dict.fromkeys(address for text in texts if (address := artifact_address(text)) is not None))

    def artifacts(self, split: str) -> tuple[str, ...]:
        """Addresses, with their versions, of the artifacts at W&B that a split is from.

        Raises:
            InputError: If W&B does not know one of them.
        """
        if self.artifact is not None:
            return (self.artifact,)
        root = artifact_address(self.root or "")
        written = [artifact_address(entry) or root for entry in self.entries.get(split, ())]
        return tuple(dict.fromkeys(pin_artifact(address) for address in written if address is not None))

    def roots(self) -> tuple[Path, ...]:
        """Folders that exist and that the entries may be relative to, best first."""
        folder = self.file.parent
        if self.root is None:
            return (folder,)
        if (address := artifact_address(self.root)) is not None:
            return (fetch_artifact(address),)
        tried = (folder / self.root, Path.cwd() / self.root, folder)
        return tuple(dict.fromkeys(_absolute(path) for path in tried if path.is_dir()))

    def _resolve(self, split: str, entry: str) -> Path:
        candidates = [root / name for root in self.roots() for name in _spellings(entry)]
        for candidate in candidates:
            if candidate.exists():
                return _absolute(candidate)
        tried = ", ".join(dict.fromkeys(str(_absolute(candidate)) for candidate in candidates))
        root = "" if self.root is None else f" and 'path: {self.root}'"
        raise DataError(
            f"{self.file}: key '{split}' names '{entry}', which does not exist (tried {tried}); correct it{root}, or "
            "put the data there (a 'download' key is never carried out)"
        )


def read_config(path: str | Path) -> DatasetConfig:
    """Reads a ``data.yaml``, or the only yaml file of a folder (``data.yaml`` goes first), or of an artifact at W&B.

    Its ``path`` and its splits may be artifacts, too: ``wandb-artifact://entity/project/name:alias``. They are looked
    up, and not downloaded, unless the names of the classes are only there. A split of an artifact is the one of that
    name in its ``data.yaml``, else ``data/images`` as YOLOv5 made it, else all that is in it.

    Raises:
        DataError: If the file is missing or no valid description of a data set.
        InputError: If W&B does not give an artifact.
    """
    if (address := artifact_address(path)) is not None:
        return _read_artifact(address)
    config = _parse(_find_yaml(Path(path).expanduser()))
    # Here already, where the first process is alone: a version that is new later is not for the others.
    pinned = [pin_artifact(address) for address in config.addresses()]
    return config if config.class_names else replace(config, class_names=_read_artifact(pinned[0]).class_names)


def _parse(file: Path) -> DatasetConfig:
    """What is written; without names of classes where they may be left to an artifact."""
    content = _load_yaml(file)
    entries = {split: _entries(file, split, content) for split in ("train", "val", "test")}
    config = DatasetConfig(
        file=_absolute(file),
        class_names=(),
        root=_root(file, content),
        entries={split: value for split, value in entries.items() if value},
    )
    if "names" not in content and config.addresses():
        return config
    return replace(config, class_names=_class_names(file, content))


def _read_artifact(address: str) -> DatasetConfig:
    """The ``data.yaml`` of an artifact, which speaks of this artifact only."""
    folder = fetch_artifact(address)
    if not (folder / _PREFERRED[0]).is_file():
        raise DataError(
            f"{ARTIFACT_PREFIX}{address}: holds no data.yaml; write one of your own with 'names', and with "
            f"'train: {ARTIFACT_PREFIX}{address}' and so on"
        )
    config = _parse(folder / _PREFERRED[0])
    if others := config.addresses():
        raise DataError(f"{config.file}: is from an artifact and names another one, {others[0]}; use that one instead")
    return replace(config, artifact=pin_artifact(address))


def _split_of_artifact(address: str, split: str, class_names: tuple[str, ...]) -> tuple[Path, ...]:
    folder = fetch_artifact(address)
    if not (folder / _PREFERRED[0]).is_file():
        images = folder / "data" / "images"
        return (images if images.is_dir() else folder,)
    config = _read_artifact(address)
    if config.class_names != class_names and sorted(config.class_names) == sorted(class_names):
        raise DataError(
            f"{ARTIFACT_PREFIX}{address}: has the same classes in another order, {list(config.class_names)}: "
            "its labels would be taken for others; give 'names' in this order"
        )
    return config.sources(split)


def _find_yaml(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path}: does not exist; give the path of a data.yaml or of a folder that contains one")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in {".yaml", ".yml"} and file.is_file())
    preferred = [path / name for name in _PREFERRED if path / name in found]
    if preferred or len(found) == 1:
        return (preferred or found)[0]
    names = ", ".join(file.name for file in found) or "none"
    raise DataError(f"{path}: expected one data.yaml in this folder, found {names}; give the path of the file itself")


def _load_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{file}: is no readable YAML ({_one_line(error)}); correct the file") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds {_kind(content)}, expected keys such as train, val and names; correct the file")
    return content


def _class_names(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    names = content.get("names")
    count = content.get("nc")
    if isinstance(names, dict):
        names = _names_from_dict(file, names)
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{file}: key 'names' is {_kind(names)}, expected a list of class names or a mapping of index to name; "
            "add 'names: [first, second]'"
        )
    if any(isinstance(name, list | dict) or name is None for name in names):
        raise DataError(f"{file}: key 'names' holds something that is no name; write one text for each class")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count != len(names)):
        raise DataError(f"{file}: key 'nc' is {count!r} but 'names' has {len(names)} entries; make them agree")
    return tuple(str(name) for name in names)


def _names_from_dict(file: Path, names: dict[Any, Any]) -> list[Any]:
    try:
        indexed = {int(key): name for key, name in names.items()}
    except (TypeError, ValueError):
        raise DataError(f"{file}: the keys of 'names' must be whole numbers, found {list(names)[:5]}") from None
    if sorted(indexed) != list(range(len(names))):
        raise DataError(
            f"{file}: the keys of 'names' must be 0 to {len(names) - 1} without gaps, found {sorted(indexed)[:20]}"
        )
    return [indexed[index] for index in range(len(indexed))]


def _root(file: Path, content: dict[str, Any]) -> str | None:
    root = content.get("path")
    if root is None or root == "":
        return None
    if not isinstance(root, str):
        raise DataError(f"{file}: key 'path' is {_kind(root)}, expected the folder that 'train' and 'val' count from")
    return str(Path(root).expanduser())


def _entries(file: Path, split: str, content: dict[str, Any]) -> tuple[str, ...]:
    for key in _ALIASES.get(split, (split,)):
        value = content.get(key)
        if value is None or value == "" or value == []:
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise DataError(f"{file}: key '{key}' is {value!r}, expected a folder, a .txt file or a list of those")
        return tuple(entries)
    return ()


def _spellings(entry: str) -> tuple[str, ...]:
    entry = str(Path(entry).expanduser())
    return (entry, entry.removeprefix("../")) if entry.startswith("../") else (entry,)


def _absolute(path: Path) -> Path:
    # resolve() would follow links, and a linked `images` folder would then lose its `labels` neighbour
    return Path(os.path.abspath(path))  # noqa: PTH100


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
