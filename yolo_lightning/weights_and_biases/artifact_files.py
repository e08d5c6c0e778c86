"""The files of an artifact that a run logged."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

from yolo_lightning.errors import InputError

__all__ = ["ArtifactFile", "artifact_files"]


@dataclass(frozen=True)
class ArtifactFile:
    """An entry of the manifest of an artifact.

    Attributes:
        path: Name inside the artifact.
        digest: MD5 of the content, in base64; of a reference, what identifies it.
        size: Bytes.
        ref: Where the content is, if the artifact does not hold it: ``wandb-client-artifact://…`` and others.
        local_path: File whose content is uploaded; None for a reference.
    """

    path: str
    digest: str
    size: int
    ref: str | None
    local_path: Path | None


def artifact_files(artifact: pb.ArtifactRecord) -> dict[str, ArtifactFile]:
    """The files of an artifact of a ``RunLog``, by name inside it.

    Raises:
        InputError: If they are so many that the client listed them in a file, and it is missing or damaged.
    """
    manifest = artifact.manifest
    if manifest.manifest_file_path:
        entries = _read_list(Path(manifest.manifest_file_path), artifact.name)
    else:
        entries = [_entry(each.path, each.digest, each.size, each.ref, each.local_path) for each in manifest.contents]
    return {entry.path: entry for entry in entries}


def _read_list(path: Path, artifact: str) -> list[ArtifactFile]:
    def entry(fields: dict[str, Any]) -> ArtifactFile:
        names = ("size", "ref", "local_path")
        return _entry(fields["path"], fields["digest"], *(fields.get(name) for name in names))

    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [entry(json.loads(line)) for line in file]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the list of the files of artifact {artifact} cannot be read ({error})") from error


def _entry(path: str, digest: str, size: int | None, ref: str | None, local_path: str | None) -> ArtifactFile:
    return ArtifactFile(path, digest, size or 0, ref or None, Path(local_path) if local_path else None)
