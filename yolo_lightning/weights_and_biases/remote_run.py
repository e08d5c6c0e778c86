"""What W&B has of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yolo_lightning.artifacts import public_api
from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.history import logged_epochs

__all__ = ["RemoteRun", "read_remote_run", "row_time", "versions_of"]


@dataclass(frozen=True)
class RemoteRun:
    """What W&B has of a run.

    Args:
        state: ``running``, ``finished``, ``failed``, ``crashed`` …
        row_times: When the rows of its history were logged, which tells them apart: see :func:`row_time`.
        epochs: Those whose rows it has.
        summary: Figures of the whole run.
        config: The configuration.
        files: Names of its files.
    """

    state: str
    row_times: frozenset[float]
    epochs: frozenset[int]
    summary: dict[str, Any]
    config: dict[str, Any]
    files: frozenset[str]


def read_remote_run(address: RunAddress) -> RemoteRun | None:
    """Asks W&B; None if it does not know the run."""
    api = public_api()
    try:
        run = api.run(str(address))
    except Exception as error:
        if "not find" in str(error).lower() or "not found" in str(error).lower():
            return None
        raise
    times = {row_time(row) for row in run.scan_history(keys=["_timestamp"])}
    return RemoteRun(
        run.state,
        frozenset(times),
        frozenset(logged_epochs(api, str(address))),
        dict(run.summary),
        dict(run.config),
        frozenset(file.name for file in run.files(per_page=500)),
    )


def row_time(row: dict[str, Any]) -> float:
    """When a row was logged, in seconds; the client sends it with the row, also later."""
    return round(float(row["_timestamp"]), 4)


def versions_of(address: RunAddress, kind: str, name: str) -> list[Any]:
    """The versions of an artifact, newest first; none if there is no such artifact."""
    api = public_api()
    path = f"{address.entity}/{address.project}/{name}"
    if not api.artifact_collection_exists(path, kind):
        return []
    return sorted(api.artifacts(kind, path), key=lambda version: -int(version.version.removeprefix("v")))
