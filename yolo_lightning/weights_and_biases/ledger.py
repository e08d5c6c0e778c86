"""What is on its way to W&B, as a file: what a killed process had not sent is sent later."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from yolo_lightning.errors import InputError

__all__ = ["LEDGER_FILE", "Entry", "Ledger"]

LEDGER_FILE = "wandb-pending.jsonl"
"""Name of the file in a run directory."""


@dataclass(frozen=True)
class Entry:
    """An artifact that a run makes, or uses.

    Args:
        kind: ``log``: the run made it. ``use``: the run works with it, and it exists or is made by this.
        name: Its name; of one that exists, with entity, project and version.
        type: Its type, such as ``model``.
        aliases: Names of this version.
        metadata: What W&B shows of it, plain values.
        files: Absolute path of each file, by its name in the artifact.
        references: Address of what is elsewhere, by its name in the artifact.
        client_id: What references of other artifacts call it, before W&B knows it.
        keep_last: How many versions to keep, as :func:`~yolo_lightning.weights_and_biases.retention.superseded`.
        key: Tells entries apart.
    """

    kind: Literal["log", "use"]
    name: str
    type: str
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    client_id: str | None = None
    keep_last: int | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def missing_files(self) -> list[str]:
        """Files that are there no more."""
        return [path for path in self.files.values() if not Path(path).is_file()]


class Ledger:
    """Entries in the order in which they came, each a line; one that is done gets a line that says so.

    Only ever appended to, so that a process killed in the middle spoils no more than its last line.

    Args:
        file: The file; it need not exist.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, entry: Entry) -> None:
        """Notes an entry.

        Raises:
            OSError: If the file cannot be written.
        """
        self._append(asdict(entry))

    def remove(self, entry: Entry) -> None:
        """Notes that an entry is done.

        Raises:
            OSError: If the file cannot be written.
        """
        self._append({"done": entry.key})

    def entries(self) -> list[Entry]:
        """Those that are not done.

        Raises:
            InputError: If a line other than the last cannot be read.
        """
        done = {str(values["done"]) for values in self._lines() if "done" in values}
        return [entry for entry in self.all_entries() if entry.key not in done]

    def all_entries(self) -> list[Entry]:
        """Those that are done, too.

        Raises:
            InputError: As :meth:`entries`.
        """
        entries = [self._entry(values) for values in self._lines() if "done" not in values]
        return list({entry.key: entry for entry in entries}.values())

    def _entry(self, values: dict[str, Any]) -> Entry:
        try:
            return Entry(**{**values, "aliases": tuple(values["aliases"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.file}: holds a line that this version does not know ({error})") from error

    def _lines(self) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        lines = self.file.read_bytes().split(b"\n")
        read: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                read.append(dict(json.loads(line)))
            except ValueError as error:
                if number == len(lines):  # it has no end: the process was killed while it wrote
                    break
                raise InputError(f"{self.file}, line {number}: cannot be read ({error}); remove the line") from error
        return read

    def _append(self, values: Mapping[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as file:
            # A line that was torn is ended first, so that the next one is whole.
            torn = file.tell() > 0 and file.seek(-1, 2) >= 0 and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(values).encode() + b"\n")
