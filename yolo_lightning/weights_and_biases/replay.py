"""Artifacts of the ledger, sent after the run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.artifact_entries import build_artifact
from yolo_lightning.weights_and_biases.ledger import Entry, Ledger
from yolo_lightning.weights_and_biases.remote_run import versions_of
from yolo_lightning.weights_and_biases.retention import delete_superseded, superseded
from yolo_lightning.weights_and_biases.staging import release

__all__ = ["Replay"]

_OWN = "epoch-"
_CLIENT_PREFIX = "wandb-client-artifact://"
_WAIT_SECONDS = 600


class Replay:
    """Sends entries of a ledger; what W&B has already makes no second version.

    Args:
        address: The run.
        directory: Its run directory.
        ledger: Entries that are done are taken out of it.
        opened: Opens the run at W&B, the first time that it is called.
    """

    def __init__(self, address: RunAddress, directory: Path, ledger: Ledger, opened: Callable[[], Any]) -> None:
        self._address = address
        self._directory = directory
        self._ledger = ledger
        self._opened = opened
        self._entries = ledger.all_entries()
        self._versions_by_client_id: dict[str, Any] = {}

    def send(self, entry: Entry) -> list[str]:
        """What was sent of an entry, in words. One whose files are gone, and that W&B lacks, stays in the ledger."""
        if entry.kind == "use" and not entry.files:
            self._opened().use_artifact(entry.name)
            self._done(entry)
            return [f"the use of {entry.name}"]
        if entry.missing_files():
            return []
        versions = self._versions(entry)
        version, sent = find_version(entry, versions), []
        if version is None and self._is_superseded(entry, versions):
            self._done(entry)
            return []
        aliases, kept = wanted_aliases(entry, versions)
        if version is None:
            artifact = build_artifact(replace(entry, references=map_references(entry, self._known(entry))))
            version = self._opened().log_artifact(artifact, aliases=sorted(aliases)).wait(timeout=_WAIT_SECONDS)
            sent = [" ".join([version.name, *sorted(aliases)])]
            self._give_back(entry, kept)
        elif put_aliases(version, aliases):
            sent = [f"aliases of {version.name}"]
        if entry.client_id is not None:
            self._versions_by_client_id[entry.client_id] = version
        if entry.kind == "use":
            self._opened().use_artifact(version)
        self._done(entry)
        delete_superseded(self._address, entry)
        return sent

    def _versions(self, entry: Entry) -> list[Any]:
        return versions_of(self._address, entry.type, entry.name)

    def _is_superseded(self, entry: Entry, versions: list[Any]) -> bool:
        if entry in superseded(other for other in self._entries if other.kind == entry.kind):
            return True
        epoch = entry.metadata.get("epoch")
        if entry.keep_last is None or epoch is None or "best" in wanted_aliases(entry, versions)[0]:
            return False
        later = [version for version in versions if (version.metadata.get("epoch") or 0) > epoch]
        return len(later) >= entry.keep_last

    def _known(self, entry: Entry) -> dict[str, Any]:
        """The artifacts that an entry refers to before W&B knew them, as it has them now."""
        for other in self._entries:
            used = other.client_id is not None and any(other.client_id in uri for uri in entry.references.values())
            if used and other.client_id not in self._versions_by_client_id and not other.missing_files():
                self._versions_by_client_id[str(other.client_id)] = find_version(other, self._versions(other))
        return {client_id: version for client_id, version in self._versions_by_client_id.items() if version is not None}

    def _give_back(self, entry: Entry, kept: dict[str, Any]) -> None:
        """Aliases that W&B gives every new version, to the version whose they are."""
        for version in self._versions(entry):
            own = {alias for alias, holder in kept.items() if holder.version == version.version}
            put_aliases(version, own)

    def _done(self, entry: Entry) -> None:
        self._ledger.remove(entry)
        release(entry, self._directory)


def find_version(entry: Entry, versions: Iterable[Any]) -> Any:
    """The version that holds what an entry does; None if there is none.

    Addresses of references do not count, only their names: those of an artifact that W&B did not know yet were others.
    """
    own = {alias for alias in entry.aliases if alias.startswith(_OWN)}
    contents: dict[str, str | None] = dict.fromkeys(entry.references)
    contents |= {name: _digest(Path(path)) for name, path in entry.files.items()}
    likely = [version for version in versions if own <= set(version.aliases)]
    return next((version for version in likely if _contents(version) == contents), None)


def _digest(path: Path) -> str:
    """As W&B identifies a file."""
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()).decode()


def wanted_aliases(entry: Entry, versions: Iterable[Any]) -> tuple[set[str], dict[str, Any]]:
    """Aliases that an entry should have, which leaves to later versions what is theirs.

    Returns:
        Its aliases, and by alias the version that keeps it.
    """
    epoch, fitness = entry.metadata.get("epoch"), entry.metadata.get("fitness")
    wanted, kept = set(entry.aliases), {}
    for version in versions:
        later = epoch is not None and (version.metadata.get("epoch") or 0) > epoch
        better = fitness is not None and (version.metadata.get("fitness") or 0.0) >= fitness
        for alias in version.aliases:
            if alias in wanted and (better if alias == "best" else later and not alias.startswith(_OWN)):
                kept[alias] = version
    return wanted - kept.keys(), kept


def put_aliases(version: Any, aliases: Iterable[str]) -> bool:
    """Gives a version aliases that it lacks; whether it lacked any."""
    lacking = sorted(set(aliases) - set(version.aliases))
    if lacking:
        version.aliases = [*version.aliases, *lacking]
        version.save()
    return bool(lacking)


def map_references(entry: Entry, known: dict[str, Any]) -> dict[str, str]:
    """References with the addresses that W&B has now for artifacts that got a new identity when they were sent.

    Args:
        entry: Whose references.
        known: Artifacts that were sent, by what the references call them.
    """
    mapped = {}
    for name, uri in entry.references.items():
        client_id, _, path = uri.removeprefix(_CLIENT_PREFIX).partition("/")
        artifact = known.get(client_id) if uri.startswith(_CLIENT_PREFIX) else None
        mapped[name] = artifact.get_entry(path).ref_url() if artifact is not None else uri
    return mapped


def _contents(artifact: Any) -> dict[str, str | None]:
    return {name: None if item.ref is not None else item.digest for name, item in artifact.manifest.entries.items()}
