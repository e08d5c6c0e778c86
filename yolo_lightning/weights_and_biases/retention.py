"""Which versions of an artifact are kept, so that quotas hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from yolo_lightning.artifacts import public_api
from yolo_lightning.weights_and_biases.ledger import Entry

__all__ = ["delete_superseded", "superseded"]

_OWN_ALIAS = "epoch-"
"""Versions that have other aliases (``best``, ``latest``, ``last``, or a user's) are kept."""


def superseded(waiting: Iterable[Entry]) -> list[Entry]:
    """Those that would be deleted as soon as the others are sent."""
    later: Counter[str] = Counter()
    has_best: set[str] = set()
    found = []
    for entry in reversed(list(waiting)):
        is_best = "best" in entry.aliases and entry.name not in has_best
        if entry.keep_last is not None and later[entry.name] >= entry.keep_last and not is_best:
            found.append(entry)
        later[entry.name] += 1
        has_best |= {entry.name} if "best" in entry.aliases else set()
    return found


def delete_superseded(run: Any, entry: Entry) -> None:
    """Deletes older versions at W&B beyond those to keep; never one that has an alias of other than this library."""
    if entry.keep_last is None or entry.kind != "log":
        return
    path = f"{run.entity}/{run.project}/{entry.name}"
    versions = list(public_api().artifacts(entry.type, path))
    # One that was sent late is older than its number says.
    versions.sort(key=lambda v: (v.metadata.get("epoch") or 0, int(v.version.removeprefix("v"))), reverse=True)
    for version in versions[entry.keep_last :]:
        if all(alias.startswith(_OWN_ALIAS) for alias in version.aliases):
            version.delete(delete_aliases=True)
