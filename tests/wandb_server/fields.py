"""Small things that every GraphQL answer is made of."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Entity", "File", "connection", "encode_id", "flattened", "hex_digest", "now"]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def encode_id(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def hex_digest(b64_digest: str) -> str:
    return base64.b64decode(b64_digest).hex()


def connection(items: Iterable[Any], first: int | None = None, after: str | None = None, **_: Any) -> dict:
    """A page of a list; cursors are positions."""
    items = list(items)
    start = int(after or 0)
    stop = len(items) if first is None else min(start + first, len(items))
    edges = [{"node": n, "cursor": str(start + i + 1)} for i, n in enumerate(items[start:stop])]
    return {
        "edges": edges,
        "totalCount": len(items),
        "pageInfo": {
            "__typename": "PageInfo",
            "endCursor": str(stop) if edges else None,
            "hasNextPage": stop < len(items),
        },
    }


def flattened(row: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


class Entity:
    typename = "Entity"
    organization = None
    user = None
    isTeam = False
    xxhashDigestsEnabled = False

    def __init__(self, name: str) -> None:
        self.id = encode_id(f"Entity:{name}")
        self.name = name


class File:
    """A file of a run or of an artifact."""

    typename = "File"
    mimetype = None

    def __init__(self, name: str, path: Path | None, url: str, md5: str = "", size: int = 0) -> None:
        self.id = encode_id(f"File:{url}")
        self.name = self.displayName = self.storagePath = name
        self.path = path
        self.directUrl = url
        self.digest = self.md5 = md5
        self.sizeBytes = size
        self.updatedAt = now()

    def url(self, **_: Any) -> str:
        return self.directUrl
