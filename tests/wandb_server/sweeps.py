"""Sweeps: the server proposes the runs of grid and random searches."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml

from tests.wandb_server.fields import connection, encode_id, now

if TYPE_CHECKING:
    from tests.wandb_server.projects import Project
    from tests.wandb_server.runs import Run

__all__ = ["Sweep"]


class Sweep:
    """A sweep; the server proposes the runs of `grid` and `random` searches (not `bayes`)."""

    typename = "Sweep"
    description = None
    bestLoss = None
    earlyStopJobRunning = False
    controller = scheduler = controllerRunName = None
    heartbeatAt = None

    def __init__(self, project: Project, name: str, config: str) -> None:
        self.project = project
        self.name = name
        self.displayName = name
        self.id = encode_id(f"Sweep:{name}")
        self.config = config
        self.spec = yaml.safe_load(config)
        self.method = self.spec.get("method", "grid")
        self.state = "PENDING"
        self.createdAt = self.updatedAt = now()
        self.proposals = self._propose()
        self.left = self.spec.get("run_cap")

    def _propose(self) -> Iterable[dict[str, Any]]:
        parameters = self.spec.get("parameters", {})
        if self.method == "grid":
            options = [p["values"] if "values" in p else [p["value"]] for p in parameters.values()]
            return (dict(zip(parameters, values, strict=True)) for values in itertools.product(*options))
        rng = random.Random(0)
        return iter(lambda: {k: self._sample(rng, p) for k, p in parameters.items()}, None)

    @staticmethod
    def _sample(rng: random.Random, p: dict[str, Any]) -> Any:
        if "value" in p:
            return p["value"]
        if "values" in p:
            return rng.choice(p["values"])
        if isinstance(p["min"], int) and isinstance(p["max"], int):
            return rng.randint(p["min"], p["max"])
        return rng.uniform(p["min"], p["max"])

    def command(self) -> dict[str, Any]:
        """What an agent is to do next."""
        if self.state in ("FINISHED", "CANCELED", "STOPPED") or self.left == 0:
            return {"type": "exit"}
        args = next(iter(self.proposals), None)
        if args is None:
            self.state = "FINISHED"
            return {"type": "exit"}
        self.state = "RUNNING"
        self.left = None if self.left is None else self.left - 1
        name = secrets.token_hex(4)
        run = self.project.run(name, create=True)
        run.sweepName = self.name
        return {
            "type": "run",
            "run_id": name,
            "program": self.spec.get("program", ""),
            "args": {k: {"value": v} for k, v in args.items()},
        }

    @property
    def sweep_runs(self) -> list[Run]:
        return [r for r in self.project.runs_by_name.values() if r.sweepName == self.name]

    # -- GraphQL

    @property
    def runCount(self) -> int:
        return len(self.sweep_runs)

    @property
    def runCountExpected(self) -> int | None:
        return self.spec.get("run_cap")

    def runs(self, **page: Any) -> dict:
        return connection(self.sweep_runs, page.get("first"), page.get("after"))
