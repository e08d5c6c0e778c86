"""Proof that W&B has all that a run directory has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_lightning.weights_and_biases.address import RunAddress
from yolo_lightning.weights_and_biases.fragments import Fragment
from yolo_lightning.weights_and_biases.history import MARK, whole_rows
from yolo_lightning.weights_and_biases.ledger import Entry, Ledger
from yolo_lightning.weights_and_biases.remote_run import RemoteRun, row_time, versions_of
from yolo_lightning.weights_and_biases.retention import superseded

__all__ = ["SyncReport", "compare", "lacking_summary"]


@dataclass
class SyncReport:
    """What was sent of a run, and what W&B has of it now.

    Attributes:
        address: Where the run is.
        lost: Files that are needed and are there no more.
        sent: What was sent, in words.
        rows: What there is of each kind, as (kind, here, at W&B).
        missing: What W&B lacks, in words.
        state: How W&B shows the run.
    """

    address: RunAddress
    lost: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    rows: list[tuple[str, int, int]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    state: str = ""


def compare(report: SyncReport, remote: RemoteRun, directory: Path, fragments: list[Fragment], ledger: Ledger) -> None:
    """Adds to a report what a run directory has and what of it W&B has."""
    logged = [row for fragment in fragments for row in fragment.log.history]
    epochs = {row["epoch"] for row in logged if row.keys() >= {"epoch", MARK}}
    epochs |= {row["epoch"] for row in whole_rows(directory)}
    _count(report, "epochs", set(map(str, epochs)), set(map(str, remote.epochs)))
    _count(report, "rows", set(map(_time, logged)), {f"{time:.4f}" for time in remote.row_times})
    if fragments:
        summary = fragments[-1].log.summary
        _count(report, "summary", set(summary), set(summary) - lacking_summary(summary, remote.summary).keys())
    _count(report, "media files", {name for fragment in fragments for name in fragment.media}, remote.files)
    entries = [entry for entry in ledger.all_entries() if entry.kind == "log"]
    gone = superseded(entries)
    wanted = [entry for entry in entries if entry not in gone]
    pending = {entry.key for entry in ledger.entries()}
    versions = {(entry.type, entry.name): versions_of(report.address, entry.type, entry.name) for entry in wanted}
    there = {
        _label(entry)
        for entry in wanted
        if entry.key not in pending and _is_there(entry, versions[entry.type, entry.name])
    }
    _count(report, "artifacts", set(map(_label, wanted)), there)
    used = [entry for entry in ledger.all_entries() if entry.kind == "use"]
    _count(report, "artifacts used", set(map(_label, used)), {_label(e) for e in used if e.key not in pending})


def lacking_summary(here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """Figures of the summary that W&B lacks, or has others of; none if its run has gone on since."""
    if (there.get("epoch") or 0) > (here.get("epoch") or 0):
        return {}
    plain = {name: value for name, value in here.items() if not name.startswith("_") and _is_plain(value)}
    return {name: value for name, value in plain.items() if there.get(name) != value}


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _time(row: dict[str, Any]) -> str:
    return f"{row_time(row):.4f}"


def _label(entry: Entry) -> str:
    return ":".join([entry.name, *_own_aliases(entry)])


def _own_aliases(entry: Entry) -> list[str]:
    """Those that no other version takes from it."""
    return [alias for alias in entry.aliases if alias.startswith("epoch-")]


def _is_there(entry: Entry, versions: list[Any]) -> bool:
    return any(set(_own_aliases(entry)) <= set(version.aliases) for version in versions)


def _count(report: SyncReport, kind: str, here: set[str], there: set[str] | frozenset[str]) -> None:
    if here:
        report.rows.append((kind, len(here), len(here & there)))
    report.missing += [f"{kind}: {name}" for name in sorted(here - there)]
