"""Reading ``data.yaml``: class names, and where the images of each split are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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
        entries: For each split, its folders and list files as written.
    """

    file: Path
    class_names: tuple[str, ...]
    root: str | None = None
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def sources(self, split: str) -> tuple[Path, ...]:
        """Folders and list files of a split; they exist.

        A relative ``path`` counts from the folder of the yaml, else from the working directory; where it does not
        exist, as in many exported archives, the folder of the yaml takes its place. An entry that starts with ``../``
        and does not exist is tried without it, as Roboflow's exports need.

        Raises:
            DataError: If the split is not in the file, or its images are not there.
        """
        if split not in self.entries:
            raise DataError(
                f"{self.file}: has no key '{split}' (found: {', '.join(self.entries) or 'no split'}); "
                f"add '{split}: <folder of images, or a .txt file that lists them>'"
            )
        return tuple(self._resolve(split, entry) for entry in self.entries[split])

    def roots(self) -> tuple[Path, ...]:
        """Folders that exist and that the entries may be relative to, best first."""
        folder = self.file.parent
        if self.root is None:
            return (folder,)
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
    """Reads a ``data.yaml``, or the only yaml file of a folder (``data.yaml`` goes first).

    Raises:
        DataError: If the file is missing or no valid description of a data set.
    """
    file = _find_yaml(Path(path).expanduser())
    content = _load_yaml(file)
    entries = {split: _entries(file, split, content) for split in ("train", "val", "test")}
    return DatasetConfig(
        file=_absolute(file),
        class_names=_class_names(file, content),
        root=_root(file, content),
        entries={split: value for split, value in entries.items() if value},
    )


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
