"""Runs: configuration, history, summary, console and files."""

from __future__ import annotations

import fnmatch
import json
import posixpath
from typing import TYPE_CHECKING, Any

from tests.wandb_server.fields import File, connection, encode_id, flattened, now

if TYPE_CHECKING:
    from tests.wandb_server.artifacts import Artifact
    from tests.wandb_server.projects import Project
    from tests.wandb_server.state import State
    from tests.wandb_server.sweeps import Sweep

__all__ = ["Run"]


class Run:
    """A run, as clients and tests see it."""

    typename = "Run"
    readOnly = False
    notes = description = commit = host = None
    group = jobType = sweepName = None
    systemMetrics = "{}"
    stopped = shouldStop = False
    heartbeatAt = None

    def __init__(self, store: State, project: Project, name: str, number: int) -> None:
        self._store = store
        self.project = project
        self.name = name
        self.id = encode_id(f"Run:v1:{name}:{project.name}:{project.entity.name}")
        self.projectId = project.internalId
        self.displayName = f"run-{number}"
        self.createdAt = now()
        self.tags: list[str] = []
        self.state = "pending"
        self.exitcode: int | None = None
        self.config_dict: dict[str, Any] = {}
        self.lines: dict[str, list[str]] = {}  # file stream: file name -> lines
        self.files_by_name: dict[str, File] = {}
        self.used: list[Artifact] = []
        self.logged: list[Artifact] = []
        self.user = store.viewer

    # -- for tests

    @property
    def path(self) -> str:
        return f"{self.project.entity.name}/{self.project.name}/{self.name}"

    @property
    def config_values(self) -> dict[str, Any]:
        """The user's hyperparameters."""
        return {k: v["value"] for k, v in self.config_dict.items() if k not in ("_wandb", "wandb_version")}

    @property
    def history_rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", ()) if line]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines.get("wandb-summary.json")
        return json.loads(lines[-1]) if lines else {}

    @property
    def console(self) -> str:
        return "\n".join(self.lines.get("output.log", ()))

    def read_file(self, name: str) -> bytes:
        path = self.files_by_name[name].path
        assert path is not None
        return path.read_bytes()

    # -- file stream

    def stream(self, body: dict[str, Any]) -> dict[str, Any]:
        self.heartbeatAt = now()
        for name, update in (body.get("files") or {}).items():
            lines = self.lines.setdefault(name, [])
            offset, content = update.get("offset", 0), update.get("content", [])
            lines.extend([""] * (offset - len(lines)))
            lines[offset : offset + len(content)] = content
        if body.get("complete"):
            self.exitcode = body.get("exitcode", 0)
            self.state = "finished" if self.exitcode == 0 else "preempted" if self.state == "preempting" else "failed"
        elif body.get("preempting"):
            self.state = "preempting"
        elif self.state != "preempting":
            self.state = "running"
        return {"exitcode": None, "limits": {}, "stopped": self.stopped}

    # -- GraphQL

    @property
    def config(self) -> str:
        return json.dumps(self.config_dict)

    def wandbConfig(self, keys: list[str] | None = None, **_: Any) -> str | None:
        internal = self.config_dict.get("_wandb", {}).get("value")
        if internal is None:
            return None
        return json.dumps({k: v for k, v in internal.items() if keys is None or k in keys})

    @property
    def summaryMetrics(self) -> str:
        return json.dumps(self.summary)

    def _tail(self, name: str, count: int = 1) -> str:
        return json.dumps(self.lines.get(name, [])[-count:])

    @property
    def historyTail(self) -> str:
        return self._tail("wandb-history.jsonl")

    @property
    def eventsTail(self) -> str:
        return self._tail("wandb-events.jsonl")

    @property
    def historyLineCount(self) -> int:
        return len(self.lines.get("wandb-history.jsonl", ()))

    @property
    def eventsLineCount(self) -> int:
        return len(self.lines.get("wandb-events.jsonl", ()))

    @property
    def logLineCount(self) -> int:
        return len(self.lines.get("output.log", ()))

    @property
    def historyKeys(self) -> dict[str, Any]:
        rows = self.history_rows
        keys: dict[str, dict[str, Any]] = {}
        for row in rows:
            for key, value in flattened(row):
                seen = keys.setdefault(key, {"typeCounts": [{"type": "number", "count": 0}]})
                seen["typeCounts"][0]["count"] += 1
                seen["previousValue"] = value
        return {"keys": keys, "lastStep": rows[-1].get("_step", -1) if rows else -1}

    def history(self, samples: int | None = None, minStep: int = 0, maxStep: int | None = None, **_: Any) -> list[str]:
        rows = [r for r in self.history_rows if r["_step"] >= minStep and (maxStep is None or r["_step"] < maxStep)]
        return [json.dumps(r) for r in rows[:samples]]

    def events(self, samples: int | None = None, **_: Any) -> list[str]:
        return self.lines.get("wandb-events.jsonl", [])[:samples]

    def sampledHistory(self, specs: list[str], **_: Any) -> list[list[dict[str, Any]]]:
        out = []
        for spec in map(json.loads, specs):
            keys = spec.get("keys") or []
            rows = [r for r in self.history_rows if all(k in r for k in keys)]
            out.append([{k: r[k] for k in keys} if keys else r for r in rows])
        return out

    def parquetHistory(self, liveKeys: list[str] | None = None, **_: Any) -> dict[str, Any]:
        return {"parquetUrls": [], "liveData": self.history_rows}

    def logLines(self, first: int | None = None, last: int | None = None, after: str | None = None, **_: Any) -> dict:
        nodes = [
            {"number": i, "line": line, "level": None, "label": None, "timestamp": None}
            for i, line in enumerate(self.lines.get("output.log", ()))
        ]
        return connection(nodes[-last:] if last else nodes, first, after)

    @property
    def fileCount(self) -> int:
        return len(self.files_by_name)

    def files(
        self,
        names: list[str] | None = None,
        pattern: str | None = None,
        first: int | None = None,
        after: str | None = None,
        **_: Any,
    ) -> dict:
        wanted = {posixpath.normpath(n) for n in names or ()}
        found = [f for n, f in sorted(self.files_by_name.items()) if not wanted or n in wanted]
        if pattern:
            found = [f for f in found if fnmatch.fnmatchcase(f.name, pattern.replace("%", "*"))]
        return connection(found, first, after)

    def inputArtifacts(self, **page: Any) -> dict:
        return connection(self.used, page.get("first"), page.get("after"))

    def outputArtifacts(self, **page: Any) -> dict:
        return connection(self.logged, page.get("first"), page.get("after"))

    @property
    def sweep(self) -> Sweep | None:
        return self.project.sweeps_by_name.get(self.sweepName or "")
