"""Artifacts: versions, their collections, aliases and manifests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.wandb_server.fields import File, connection, encode_id, hex_digest, now

if TYPE_CHECKING:
    from tests.wandb_server.projects import Project
    from tests.wandb_server.runs import Run
    from tests.wandb_server.state import State

__all__ = ["Artifact", "ArtifactType", "Collection", "Membership"]


class Collection:
    """An artifact sequence: all versions of one artifact name."""

    typename = "ArtifactSequence"
    interfaces = ("ArtifactCollection",)
    description = None
    digestAlgorithm = "MANIFEST_MD5"

    def __init__(self, project: Project, name: str, type_name: str) -> None:
        self.id = encode_id(f"ArtifactCollection:{project.internalId}:{name}")
        self.project = project
        self.name = name
        self.type_name = type_name
        self.createdAt = self.updatedAt = now()
        self.versions: list[Artifact] = []  # by version index, also those deleted since
        self.alias_map: dict[str, Artifact] = {}

    @property
    def committed(self) -> list[Artifact]:
        """The versions that are there, oldest first."""
        return [a for a in self.versions if a.state == "COMMITTED"]

    def find(self, alias: str) -> Artifact | None:
        if alias in self.alias_map:
            return self.alias_map[alias]
        if alias[:1] == "v" and alias[1:].isdigit():
            return next((a for a in self.committed if a.versionIndex == int(alias[1:])), None)
        return None

    # -- GraphQL

    @property
    def defaultArtifactType(self) -> dict[str, str]:
        return {"__typename": "ArtifactType", "name": self.type_name}

    @property
    def latestArtifact(self) -> Artifact | None:
        return self.committed[-1] if self.committed else None

    @property
    def tags(self) -> dict:
        return connection([])

    @property
    def aliases(self) -> Callable[..., dict]:
        return lambda **page: connection(
            [{"__typename": "ArtifactAlias", "id": encode_id(a), "alias": a} for a in self.alias_map],
            page.get("first"),
            page.get("after"),
        )

    def artifacts(self, **page: Any) -> dict:
        out = connection(self.committed[::-1], page.get("first"), page.get("after"))
        for edge in out["edges"]:
            edge["version"] = f"v{edge['node'].versionIndex}"
        return out

    def artifactMembership(self, aliasName: str, **_: Any) -> Membership | None:
        artifact = self.find(aliasName)
        return Membership(self, artifact) if artifact else None


class Membership:
    """An artifact version as a member of a collection."""

    typename = "ArtifactCollectionMembership"

    def __init__(self, collection: Collection, artifact: Artifact) -> None:
        self.id = encode_id(f"ArtifactMembership:{artifact.number}")
        self.artifactCollection = collection
        self.artifact = artifact
        self.versionIndex = artifact.versionIndex
        self.createdAt = artifact.createdAt
        self.aliases = artifact.aliases

    def files(self, **args: Any) -> dict:
        return self.artifact.files(**args)


class Artifact:
    typename = "Artifact"
    ttlDurationSeconds = -2  # none set
    ttlIsInherited = True
    digestAlgorithm = "MANIFEST_MD5"

    def __init__(self, store: State, number: int, sequence: Collection, spec: dict[str, Any]) -> None:
        self._store = store
        self.number = number
        self.id = encode_id(f"Artifact:{number}")
        self.artifactSequence = sequence
        self.state = "PENDING"
        self.versionIndex: int | None = None
        self.digest = spec["digest"]
        self.description = spec.get("description")
        self.metadata = spec.get("metadata") or "{}"
        self.tags = [
            {"__typename": "Tag", "id": encode_id(t["tagName"]), "name": t["tagName"]} for t in spec.get("tags") or ()
        ]
        self.historyStep = spec.get("historyStep")
        self.wanted_aliases = [a["alias"] for a in spec.get("aliases") or ()]
        self.createdAt = self.updatedAt = now()
        self.commitHash = secrets.token_hex(10)
        self.created_by: Run | None = None
        self.used_by: list[Run] = []
        self.manifest: dict[str, Any] = {}
        self.manifest_id = ""

    # -- for tests

    @property
    def name(self) -> str:
        return f"{self.artifactSequence.name}:v{self.versionIndex}"

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        return self.manifest.get("contents", {})

    @property
    def alias_names(self) -> list[str]:
        return [k for k, v in self.artifactSequence.alias_map.items() if v is self]

    def read_file(self, name: str) -> bytes:
        return self._store.blob(hex_digest(self.entries[name]["digest"])).read_bytes()

    # -- GraphQL

    @property
    def artifactType(self) -> dict[str, str]:
        return {"__typename": "ArtifactType", "name": self.artifactSequence.type_name}

    @property
    def aliases(self) -> list[dict[str, Any]]:
        sequence = self.artifactSequence
        return [
            {
                "__typename": "ArtifactAlias",
                "id": encode_id(f"{self.number}:{a}"),
                "alias": a,
                "artifactCollection": sequence,
            }
            for a in self.alias_names
        ]

    @property
    def size(self) -> int:
        return sum(e.get("size") or 0 for e in self.entries.values())

    @property
    def fileCount(self) -> int:
        return len(self.entries)

    @property
    def currentManifest(self) -> dict[str, Any] | None:
        if not self.manifest_id:
            return None
        return {
            "__typename": "ArtifactManifest",
            "id": self.manifest_id,
            "file": {"__typename": "File", "directUrl": self._store.link(f"/storage/manifests/{self.number}")},
        }

    def _file(self, name: str, entry: dict[str, Any]) -> File:
        if entry.get("ref"):
            return File(name, None, entry["ref"], entry["digest"], entry.get("size") or 0)
        hex_md5 = hex_digest(entry["digest"])
        url = self._store.link(f"/storage/blobs/{hex_md5}/{quote(name)}")
        return File(name, self._store.blob(hex_md5), url, entry["digest"], entry.get("size") or 0)

    def files(
        self, names: list[str] | None = None, first: int | None = None, after: str | None = None, **_: Any
    ) -> dict:
        found = [(n, e) for n, e in sorted(self.entries.items()) if not names or n in names]
        return connection([self._file(n, e) for n, e in found], first, after)

    def filesByManifestEntries(self, entries: list[dict[str, Any]] | None = None, **_: Any) -> dict:
        return connection(self._file(e["name"], self.entries[e["name"]]) for e in entries or ())

    @property
    def createdBy(self) -> Run | None:
        return self.created_by

    def usedBy(self, **_: Any) -> dict:
        return connection(self.used_by)


class ArtifactType:
    typename = "ArtifactType"
    description = None

    def __init__(self, name: str, members: list[Collection]) -> None:
        self.id = encode_id(f"ArtifactType:{name}")
        self.name = name
        self.members = members
        self.createdAt = members[0].createdAt if members else now()

    def artifactCollection(self, name: str, **_: Any) -> Collection | None:
        return next((c for c in self.members if c.name == name), None)

    def artifactCollections(self, **page: Any) -> dict:
        return connection(self.members, page.get("first"), page.get("after"))
