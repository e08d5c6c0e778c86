"""The server: its address, its state, what it was asked, and when it fails."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.wandb_server.faults import Fault, Faults, Request
from tests.wandb_server.handler import Handler
from tests.wandb_server.store import Store

__all__ = ["API_KEY", "WandbServer"]

API_KEY = "local-" + "0" * 40
"""The key that the server accepts."""


class WandbServer:
    """The server and its state, a context manager.

    Args:
        directory: Where it keeps the bytes that are uploaded.
        port: 0 for any free one.
        entity: User or team whom runs belong to by default.
        features: Optional features of the server that clients may ask for.

    Attributes:
        store: What a test looks at.
        requests: Everything that came in.
        missing: GraphQL fields, and paths, that a client asked for and this server lacks.
        errors: Tracebacks of the server's own faults.
        strict: Whether the fixture fails the test at its end if something is missing or in error.
    """

    def __init__(
        self, directory: str | Path, port: int = 0, entity: str = "team", features: Iterable[str] = ()
    ) -> None:
        self.store = Store(Path(directory), entity, features)
        self.requests: list[Request] = []
        self.missing: set[tuple[str, str]] = set()
        self.errors: list[str] = []
        self.strict = True
        self.api_key = API_KEY
        self.faults = Faults()
        handler = type("BoundHandler", (Handler,), {"server_state": self})
        self._http = _HTTPServer(("127.0.0.1", port), handler)
        self.url = self.store.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.faults.end()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def env(self, home: str | Path) -> dict[str, str]:
        """Environment of a client; clients of different homes share no local files.

        W&B settings of the process that runs the tests are left out.
        """
        home = Path(home)
        home.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        return kept | {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ENTITY": self.store.default_entity,
            "WANDB_DIR": str(home),
            "WANDB_CACHE_DIR": str(home / "cache"),
            "WANDB_DATA_DIR": str(home / "data"),
            "WANDB_CONFIG_DIR": str(home / "config"),
            "WANDB_ARTIFACT_DIR": str(home / "artifacts"),
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "HOME": str(home),
        }

    def failing(
        self,
        match: str = "",
        status: int = 503,
        times: int | None = None,
        when: Callable[[Request], bool] = lambda request: True,
    ) -> AbstractContextManager[Fault]:
        """Fails requests inside a ``with`` block.

        Args:
            match: Part of the path, or of the GraphQL operation's name, of the requests that fail; all by default.
            status: HTTP status they get, or ``DROP`` or ``HANG``.
            times: How many fail at most.
            when: Further condition, such as an epoch that has been reached or a time that has come.
        """
        return self.faults.injected(Fault(match, status, times, when))

    def wait_until(self, condition: Callable[[Store], object], timeout: float = 120) -> None:
        """Waits for the state to be such; runs and artifacts that do not exist yet make no error.

        Raises:
            TimeoutError: If it does not come in that many seconds.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self.store.lock:
                try:
                    if condition(self.store):
                        return
                except LookupError:
                    pass
            time.sleep(0.02)
        raise TimeoutError(f"not in {timeout} s; the server was asked {self.operations()}")

    def count(self, operation: str) -> int:
        """How often a GraphQL operation was called."""
        return sum(request.operation == operation for request in self.requests)

    def operations(self) -> dict[str, int]:
        """How often each GraphQL operation or endpoint was called."""
        counts: dict[str, int] = {}
        for request in list(self.requests):
            parts = urlsplit(request.path).path.strip("/").split("/")
            if request.operation:
                name = f"gql {request.operation}"
            elif parts[-1] == "file_stream":
                name = f"{request.method} /files/<entity>/<project>/<run>/file_stream"
            else:
                name = f"{request.method} /{'/'.join(parts[:2] if parts[0] == 'storage' else parts[:1])}/..."
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
