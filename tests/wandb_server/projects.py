"""Projects: the runs, artifacts and sweeps under one name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.wandb_server.artifacts import Artifact, ArtifactType, Collection, Membership
from tests.wandb_server.fields import Entity, connection, encode_id, now
from tests.wandb_server.run_filters import matches, ordered
from tests.wandb_server.runs import Run
from tests.wandb_server.sweeps import Sweep

if TYPE_CHECKING:
    from tests.wandb_server.state import State

__all__ = ["Project"]


class Project:
    typename = "Project"
    readOnly = False
    isBenchmark = False
    access = "USER_READ"

    def __init__(self, store: State, entity: Entity, name: str, number: int) -> None:
        self._store = store
        self.entity = entity
        self.entityName = entity.name
        self.name = name
        self.internalId = str(number)
        self.id = encode_id(f"Project:{number}")
        self.createdAt = now()
        self.user = store.viewer
        self.runs_by_name: dict[str, Run] = {}
        self.collections: dict[str, Collection] = {}
        self.sweeps_by_name: dict[str, Sweep] = {}

    # -- GraphQL

    def run(self, name: str, create: bool = False, **_: Any) -> Run | None:
        if create and name not in self.runs_by_name:
            self.runs_by_name[name] = Run(self._store, self, name, len(self.runs_by_name) + 1)
        return self.runs_by_name.get(name)

    bucket = run

    def _filtered(self, filters: str | None) -> list[Run]:
        return [r for r in self.runs_by_name.values() if matches(r, json.loads(filters or "{}"))]

    def runs(self, filters: str | None = None, order: str | None = None, **page: Any) -> dict:
        found = ordered(self._filtered(filters), order or "+created_at")
        return connection(found, page.get("first"), page.get("after"))

    def runCount(self, filters: str | None = None, **_: Any) -> int:
        return len(self._filtered(filters))

    def artifactCollection(self, name: str, **_: Any) -> Collection | None:
        return self.collections.get(name)

    def artifactCollections(self, **page: Any) -> dict:
        return connection(self.collections.values(), page.get("first"), page.get("after"))

    def artifactCollectionMembership(self, name: str, **_: Any) -> Membership | None:
        collection_name, _, alias = name.partition(":")
        found = self.collections.get(collection_name)
        return found.artifactMembership(alias or "latest") if found else None

    def artifact(self, name: str, **_: Any) -> Artifact | None:
        membership = self.artifactCollectionMembership(name)
        return membership.artifact if membership else None

    def _type(self, name: str) -> ArtifactType:
        return ArtifactType(name, [c for c in self.collections.values() if c.type_name == name])

    def artifactType(self, name: str, **_: Any) -> ArtifactType | None:
        found = self._type(name)
        return found if found.members else None

    def artifactTypes(self, **page: Any) -> dict:
        names = dict.fromkeys(c.type_name for c in self.collections.values())
        return connection([self._type(n) for n in names], page.get("first"), page.get("after"))

    def sweep(self, sweepName: str, **_: Any) -> Sweep | None:
        return self.sweeps_by_name.get(sweepName)

    def sweeps(self, **page: Any) -> dict:
        return connection(self.sweeps_by_name.values(), page.get("first"), page.get("after"))

    @property
    def totalSweeps(self) -> int:
        return len(self.sweeps_by_name)
