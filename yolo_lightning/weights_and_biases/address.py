"""Names of runs and artifacts at W&B."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yolo_lightning.errors import InputError

__all__ = ["RunAddress", "artifact_name"]

_PART = re.compile(r"[^/:\s]+")
_PREFIX = "wandb-artifact://"
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9\-_.]")
_MOST = 128


@dataclass(frozen=True)
class RunAddress:
    """Where a run is.

    Args:
        entity: User or team.
        project: Project.
        id: The run's identity.
    """

    entity: str
    project: str
    id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> RunAddress:
        """Reads ``entity/project/runid``, also with ``wandb-artifact://`` before it, as YOLOv5 had it.

        Raises:
            InputError: If it is something else.
        """
        parts = text.removeprefix(_PREFIX).strip("/").split("/")
        if len(parts) == 4 and parts[2] == "runs":  # as in the address of its page
            parts.pop(2)
        if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
            raise InputError(f"{text!r} is no run: give entity/project/runid, as W&B shows it under Overview, Run path")
        return cls(*parts)


def artifact_name(name: str) -> str:
    """A name that W&B takes for an artifact: what it refuses becomes ``-``."""
    return _FORBIDDEN.sub("-", name)[:_MOST] or "-"
