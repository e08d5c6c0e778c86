"""Filters and orders of `Api().runs()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.wandb_server.runs import Run

__all__ = ["matches", "ordered"]

_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda got, want: got == want,
    "$ne": lambda got, want: got != want,
    "$in": lambda got, want: bool(set(got) & set(want)) if isinstance(got, list) else got in want,
    "$gt": lambda got, want: got is not None and got > want,
    "$gte": lambda got, want: got is not None and got >= want,
    "$lt": lambda got, want: got is not None and got < want,
    "$lte": lambda got, want: got is not None and got <= want,
}


def matches(run: Run, query: dict[str, Any]) -> bool:
    """A MongoDB-like filter of `Api().runs()`, as far as tests need it."""
    for key, want in query.items():
        if key in ("$and", "$or"):
            combine = all if key == "$and" else any
            if want and not combine(matches(run, q) for q in want):
                return False
            continue
        if key.startswith("config."):
            got = run.config_values.get(key.removeprefix("config.").removesuffix(".value"))
        elif key.startswith("summary_metrics."):
            got = run.summary.get(key.removeprefix("summary_metrics."))
        else:
            names = {"display_name": "displayName", "sweep": "sweepName", "job_type": "jobType"}
            got = getattr(run, names.get(key, key))
        if isinstance(want, dict):
            if not all(_CHECKS[op](got, value) for op, value in want.items()):
                return False
        elif got != want and not (isinstance(got, list) and want in got):
            return False
    return True


def ordered(runs: list[Run], order: str) -> list[Run]:
    """Sort as `Api().runs(order=...)` asks: `-created_at`, `+summary_metrics.x`, `config.x.value`."""
    key = order.lstrip("+-")
    if not key.startswith(("summary_metrics.", "config.")):
        return runs[::-1] if order.startswith("-") else runs

    def value(run: Run) -> Any:
        if key.startswith("config."):
            return run.config_values.get(key.removeprefix("config.").removesuffix(".value"))
        return run.summary.get(key.removeprefix("summary_metrics."))

    known = [r for r in runs if value(r) is not None]
    known.sort(key=value, reverse=order.startswith("-"))
    return known + [r for r in runs if value(r) is None]
