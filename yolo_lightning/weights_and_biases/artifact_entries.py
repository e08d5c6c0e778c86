"""Entries of the ledger as wandb artifacts, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from yolo_lightning.artifacts import import_wandb
from yolo_lightning.weights_and_biases.ledger import Entry

__all__ = ["build_artifact", "describe_artifact"]


def build_artifact(entry: Entry) -> Any:
    """The wandb artifact of an entry; of one that exists, its full name.

    Raises:
        OSError: If a file of it is gone.
    """
    if entry.kind == "use" and not entry.files:
        return entry.name
    if missing := entry.missing_files():
        raise FileNotFoundError(f"{missing[0]} of artifact {entry.name} is gone")
    artifact = import_wandb().Artifact(entry.name, entry.type, metadata=dict(entry.metadata))
    if entry.client_id is not None:  # references to it, which are made already, go by this
        artifact._client_id = entry.client_id
    for name, path in entry.files.items():
        # Its files stay where they are until they are sent, so there is no need for a copy of them.
        artifact.add_file(path, name=name, policy="immutable", skip_cache=True)
    for name, uri in entry.references.items():
        artifact.add_reference(uri, name=name, checksum=False)
    return artifact


def describe_artifact(entry: Entry, artifact: Any) -> Entry:
    """The entry with what its artifact holds."""
    files, references = {}, {}
    for name, item in artifact.manifest.entries.items():
        if item.ref is not None:
            references[name] = str(item.ref)
        else:
            files[name] = str(item.local_path)
    return replace(entry, files=files, references=references, client_id=str(artifact._client_id))
