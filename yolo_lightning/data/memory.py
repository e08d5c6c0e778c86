"""How much memory, disk and processor this process may take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["available_cores", "available_disk", "available_memory"]

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that can still be taken, by the machine's and the container's (cgroup's) limits; None if unknown.

    Args:
        proc: Where the process file system is mounted.
        cgroup: Where the control groups are mounted.
    """
    limits = [_machine(proc), *(_group(folder) for folder in _groups(proc, cgroup))]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def available_disk(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be when it is made."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def available_cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine(proc: Path) -> int | None:
    value = _fields(proc / "meminfo").get("MemAvailable:")
    return None if value is None else value * 1024


def _groups(proc: Path, cgroup: Path) -> list[Path]:
    """The control group of this process and all around it; version 2 first, then version 1's memory controller."""
    folders = [cgroup, cgroup / "memory"]
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers in ("", "memory"):
            top = cgroup / controllers
            own = top / name.lstrip("/")
            folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return folders


def _group(folder: Path) -> int | None:
    for limit, usage, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        highest, used = _number(folder / limit), _number(folder / usage)
        if highest is not None and used is not None:
            # pages of files that nobody used lately count as used but are given back on demand
            return max(0, highest - used + _fields(folder / "memory.stat").get(inactive, 0))
    return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None


def _fields(file: Path) -> dict[str, int]:
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) >= 2 and line[1].isdigit()}
