"""What clients change about sweeps."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tests.wandb_server.fields import encode_id
from tests.wandb_server.query_parser import GraphQLError
from tests.wandb_server.state import State
from tests.wandb_server.sweeps import Sweep

__all__ = ["SweepMutations"]


class SweepMutations(State):
    """GraphQL mutations of sweeps and their agents."""

    def upsertSweep(self, input: dict[str, Any]) -> dict[str, Any]:
        sweeps = (s for p in self.projects.values() for s in p.sweeps_by_name.values())
        sweep = next((s for s in sweeps if s.id == input.get("id")), None)
        if sweep is None:
            project = self.project(input.get("projectName"), input.get("entityName"), create=True)
            sweep = Sweep(project, secrets.token_hex(4), input["config"])
            project.sweeps_by_name[sweep.name] = sweep
        if input.get("state"):
            sweep.state = input["state"]
        return {"sweep": sweep, "configValidationWarnings": []}

    def createAgent(self, input: dict[str, Any]) -> dict[str, Any]:
        project = self.project(input.get("projectName"), input.get("entityName"))
        sweep = project.sweep(input["sweep"]) if project else None
        if sweep is None:
            raise GraphQLError(f"no sweep {input['sweep']}", status=404)
        agent = encode_id(f"Agent:{secrets.token_hex(4)}")
        self.agents[agent] = sweep
        return {"agent": {"id": agent, "name": agent}}

    def agentHeartbeat(self, input: dict[str, Any]) -> dict[str, Any]:
        busy = any(json.loads(input.get("runState") or "{}").values())
        commands = [] if busy else [self.agents[input["id"]].command()]
        return {"agent": {"id": input["id"]}, "commands": json.dumps(commands)}
