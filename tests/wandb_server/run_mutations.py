"""What clients change about runs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.wandb_server.fields import File
from tests.wandb_server.query_parser import GraphQLError
from tests.wandb_server.runs import Run
from tests.wandb_server.state import State

__all__ = ["RunMutations"]


class RunMutations(State):
    """GraphQL mutations of projects and runs."""

    def _run_by_id(self, id: str) -> Run | None:
        runs = (r for p in self.projects.values() for r in p.runs_by_name.values())
        return next((r for r in runs if r.id == id), None)

    def upsertBucket(self, input: dict[str, Any]) -> dict[str, Any]:
        run = self._run_by_id(input["id"]) if input.get("id") else None
        inserted = False
        if run is None:
            project = self.project(input.get("modelName"), input.get("entityName"), create=True)
            name = input.get("name") or secrets.token_hex(4)
            inserted = name not in project.runs_by_name
            run = project.run(name, create=True)
        plain = {
            "displayName": "displayName",
            "description": "description",
            "notes": "notes",
            "commit": "commit",
            "host": "host",
            "groupName": "group",
            "jobType": "jobType",
            "tags": "tags",
            "state": "state",
            "sweep": "sweepName",
        }
        for key, attribute in plain.items():
            if input.get(key) is not None:
                setattr(run, attribute, input[key])
        if input.get("config") is not None:
            run.config_dict = json.loads(input["config"])
        if input.get("summaryMetrics") is not None:
            run.lines["wandb-summary.json"] = [input["summaryMetrics"]]
        if run.state == "pending":
            run.state = "running"
        return {"bucket": run, "inserted": inserted}

    def rewindRun(self, input: dict[str, Any]) -> dict[str, Any]:
        """`wandb.init(resume_from="<run>?_step=N")`: forget the history after step N."""
        run = self.run_at(f"{input['entityName']}/{input['projectName']}/{input['runName']}")
        kept = [r for r in run.history_rows if r["_step"] <= input["metricValue"]]
        run.lines["wandb-history.jsonl"] = [json.dumps(r) for r in kept]
        run.lines["wandb-summary.json"] = [json.dumps(kept[-1] if kept else {})]
        return {"rewoundRun": run}

    def upsertModel(self, input: dict[str, Any]) -> dict[str, Any]:
        project = self.project(input["name"], input.get("entityName"), create=True)
        return {"project": project, "model": project, "inserted": True}

    def createRunFiles(self, input: dict[str, Any]) -> dict[str, Any]:
        run = self.run_at(f"{input['entityName']}/{input['projectName']}/{input['runName']}")
        files = []
        for name in input["files"]:
            path = self.directory / "runs" / run.path / name

            def accept(data: bytes, name: str = name, path: Path = path) -> None:
                self._write(path, data)
                md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
                url = self.link(f"/storage/runs/{run.path}/{quote(name)}")
                run.files_by_name[name] = File(name, path, url, md5, len(data))

            files.append({"name": name, "uploadUrl": self._upload_slot(name, accept)})
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    def markRunFilesUploaded(self, input: dict[str, Any]) -> dict[str, Any]:
        return {"success": True}

    def stopRun(self, input: dict[str, Any]) -> dict[str, Any]:
        run = self._run_by_id(input["id"])
        run.stopped = run.shouldStop = True
        return {"success": True}

    def deleteRun(self, input: dict[str, Any]) -> dict[str, Any]:
        run = self._run_by_id(input["id"])
        del run.project.runs_by_name[run.name]
        return {"clientMutationId": None}

    def notifyScriptableRunAlert(self, input: dict[str, Any]) -> dict[str, Any]:
        return {"success": True}

    def createAnonymousApiKey(self, input: dict[str, Any]) -> None:
        raise GraphQLError("anonymous users are not supported")
