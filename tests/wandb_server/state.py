"""All that the server knows, where bytes are kept, and the fields of queries."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.wandb_server.artifacts import Artifact
from tests.wandb_server.fields import Entity, connection, encode_id
from tests.wandb_server.projects import Project
from tests.wandb_server.runs import Run
from tests.wandb_server.sweeps import Sweep

__all__ = ["State"]


class State:
    """Projects, artifacts and uploads; the root of GraphQL queries."""

    typename = "Query"

    def __init__(self, directory: Path, entity: str = "team", features: Iterable[str] = ()) -> None:
        self.directory = directory
        self.url = ""  # set by the server
        self.default_entity = entity
        self.features = set(features)
        self.lock = threading.RLock()
        self.viewer = {
            "__typename": "User",
            "id": encode_id("User:1"),
            "name": "Test User",
            "username": entity,
            "email": "test@example.com",
            "entity": entity,
            "admin": False,
            "flags": "{}",
            "deletedAt": None,
            "apiKeys": connection([]),
            "teams": connection([]),
            "organizations": [],
        }
        self.projects: dict[tuple[str, str], Project] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.by_client_id: dict[str, Artifact] = {}
        self.agents: dict[str, Sweep] = {}
        self.uploads: dict[str, Callable[[bytes], None]] = {}
        self.uploaded: list[str] = []  # names of the files whose bytes came in
        self._count = itertools.count(1)

    # -- for tests

    def run_at(self, path: str) -> Run:
        entity, project, name = path.split("/")
        return self.projects[entity, project].runs_by_name[name]

    def artifact_at(self, path: str) -> Artifact:
        entity, project, name = path.split("/")
        found = self.projects[entity, project].artifact(name)
        if found is None:
            raise KeyError(path)
        return found

    # -- storage

    def link(self, path: str) -> str:
        return self.url + path

    def blob(self, hex_md5: str) -> Path:
        return self.directory / "blobs" / hex_md5

    def _upload_slot(self, name: str, accept: Callable[[bytes], None]) -> str:
        token = secrets.token_hex(8)

        def take(data: bytes) -> None:
            accept(data)
            self.uploaded.append(name)
            del self.uploads[token]

        self.uploads[token] = take
        return self.link(f"/storage/upload/{token}")

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    # -- queries

    @property
    def serverInfo(self) -> dict[str, Any]:
        return {
            "__typename": "ServerInfo",
            "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"},
            "latestLocalVersionInfo": None,
            "features": [{"__typename": "ServerFeature", "name": f, "isEnabled": True} for f in self.features],
        }

    def entity(self, name: str | None = None, **_: Any) -> Entity:
        return Entity(name or self.default_entity)

    def project(
        self, name: str | None = None, entityName: str | None = None, create: bool = False, **_: Any
    ) -> Project | None:
        key = (entityName or self.default_entity, name or "uncategorized")
        if create and key not in self.projects:
            self.projects[key] = Project(self, Entity(key[0]), key[1], len(self.projects) + 1)
        return self.projects.get(key)

    model = project

    def models(self, entityName: str | None = None, **page: Any) -> dict:
        found = [p for (e, _), p in self.projects.items() if e == (entityName or self.default_entity)]
        return connection(found, page.get("first"), page.get("after"))

    def artifact(self, id: str, **_: Any) -> Artifact | None:
        return self.artifacts.get(id)

    def clientIDMapping(self, clientID: str, **_: Any) -> dict[str, str] | None:
        found = self.by_client_id.get(clientID)
        return {"serverID": found.id} if found else None
