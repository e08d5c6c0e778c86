"""What clients change about artifacts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.wandb_server.artifacts import Artifact, Collection
from tests.wandb_server.fields import connection, encode_id, hex_digest, now
from tests.wandb_server.query_parser import GraphQLError
from tests.wandb_server.state import State

__all__ = ["ArtifactMutations"]


class ArtifactMutations(State):
    """GraphQL mutations of artifacts and aliases."""

    def createArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        name = input.get("artifactCollectionName") or input["artifactCollectionNames"][0]
        project = self.project(input["projectName"], input["entityName"], create=True)
        sequence = project.collections.get(name)
        if sequence is None:
            sequence = project.collections[name] = Collection(project, name, input["artifactTypeName"])
        if sequence.type_name != input["artifactTypeName"]:
            raise GraphQLError(f"{name} is of type {sequence.type_name}, not {input['artifactTypeName']}")
        run = project.run(input["runName"]) if input.get("runName") else None
        same = [a for a in sequence.versions if a.digest == input["digest"] and a.state == "COMMITTED"]
        if same and input.get("enableDigestDeduplication"):
            artifact = same[-1]
            for alias in input.get("aliases") or ():
                sequence.alias_map[alias["alias"]] = artifact
        else:
            artifact = Artifact(self, next(self._count), sequence, input)
            artifact.created_by = run
            self.artifacts[artifact.id] = artifact
        if run is not None and artifact not in run.logged:
            run.logged.append(artifact)
        if input.get("clientID"):
            self.by_client_id[input["clientID"]] = artifact
        return {"artifact": artifact}

    def createArtifactManifest(self, input: dict[str, Any]) -> dict[str, Any]:
        if input.get("type", "FULL") != "FULL":
            raise GraphQLError(f"{input['type']} manifests are not supported")
        artifact = self.artifacts[input["artifactID"]]
        artifact.manifest_id = encode_id(f"ArtifactManifest:{artifact.number}")

        def accept(data: bytes) -> None:
            self._write(self.directory / "manifests" / str(artifact.number), data)
            artifact.manifest = json.loads(data)

        file = {"id": artifact.manifest_id, "uploadUrl": None, "uploadHeaders": []}
        if input.get("digest"):
            file["uploadUrl"] = self._upload_slot(f"{artifact.artifactSequence.name}/{input['name']}", accept)
        return {"artifactManifest": {"id": artifact.manifest_id, "file": file}}

    def createArtifactFiles(self, input: dict[str, Any]) -> dict[str, Any]:
        nodes = []
        for spec in input["artifactFiles"]:
            artifact = self.artifacts[spec["artifactID"]]
            hex_md5 = hex_digest(spec["md5"])
            path = self.blob(hex_md5)

            def accept(data: bytes, hex_md5: str = hex_md5, path: Path = path) -> None:
                if hashlib.md5(data).hexdigest() != hex_md5:
                    raise GraphQLError("the upload does not match its digest", status=400)
                self._write(path, data)

            nodes.append(
                {
                    "__typename": "File",
                    "name": spec["name"],
                    "storagePath": f"blobs/{hex_md5}",
                    # bytes the server already has are not asked for again
                    "uploadUrl": None if path.exists() else self._upload_slot(spec["name"], accept),
                    "uploadHeaders": [f"Content-MD5:{spec['md5']}"],
                    "uploadMultipartUrls": None,
                    "artifact": artifact,
                }
            )
        return {"files": connection(nodes)}

    def commitArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[input["artifactID"]]
        missing = [
            n
            for n, e in artifact.entries.items()
            if not e.get("ref") and not self.blob(hex_digest(e["digest"])).exists()
        ]
        if missing or not artifact.manifest:
            raise GraphQLError(f"cannot commit: files not uploaded: {missing or 'manifest'}")
        sequence = artifact.artifactSequence
        artifact.versionIndex = sequence.versions[-1].versionIndex + 1 if sequence.versions else 0
        artifact.state = "COMMITTED"
        sequence.versions.append(artifact)
        for alias in artifact.wanted_aliases:
            sequence.alias_map[alias] = artifact
        return {"artifact": artifact}

    def useArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[input["artifactID"]]
        run = self.run_at(f"{input['entityName']}/{input['projectName']}/{input['runName']}")
        if artifact not in run.used:
            run.used.append(artifact)
            artifact.used_by.append(run)
        return {"artifact": artifact}

    def updateArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[input["artifactID"]]
        for key in ("description", "metadata", "ttlDurationSeconds"):
            if input.get(key) is not None:
                setattr(artifact, key, input[key])
        if input.get("aliases") is not None:
            aliases = artifact.artifactSequence.alias_map
            for name in artifact.alias_names:
                del aliases[name]
            for alias in input["aliases"]:
                aliases[alias["alias"]] = artifact
        artifact.updatedAt = now()
        return {"artifact": artifact}

    def _alias_target(self, alias: dict[str, Any]) -> Collection:
        project = self.projects[alias["entityName"], alias["projectName"]]
        return project.collections[alias["artifactCollectionName"]]

    def addAliases(self, input: dict[str, Any]) -> dict[str, Any]:
        for alias in input["aliases"]:
            self._alias_target(alias).alias_map[alias["alias"]] = self.artifacts[input["artifactID"]]
        return {"success": True}

    def deleteAliases(self, input: dict[str, Any]) -> dict[str, Any]:
        for alias in input["aliases"]:
            self._alias_target(alias).alias_map.pop(alias["alias"], None)
        return {"success": True}

    def deleteArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[input["artifactID"]]
        aliases = artifact.alias_names
        if aliases and not input.get("deleteAliases"):
            raise GraphQLError(f"cannot delete {artifact.name}: it has aliases {aliases}")
        for name in aliases:
            del artifact.artifactSequence.alias_map[name]
        artifact.state = "DELETED"
        return {"artifact": artifact, "success": True}
