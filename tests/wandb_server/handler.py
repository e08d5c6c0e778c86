"""HTTP: from a request to the state and back."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
import traceback
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.wandb_server.faults import DROP, HANG, Request
from tests.wandb_server.query_execution import Execution
from tests.wandb_server.query_parser import Document, GraphQLError

if TYPE_CHECKING:
    from tests.wandb_server.server import WandbServer

__all__ = ["Handler"]

_NOT_FOUND = (404, b'{"error": "not found"}')
_NOT_LOGGED_IN = GraphQLError("user is not logged in", status=401)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server_state: WandbServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _handle(self) -> None:
        data = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        path = urlsplit(self.path).path
        body: Any = len(data)
        operation, document = "", None
        if path == "/graphql":
            body = json.loads(data)
            try:
                document = Document(body["query"])
                operation = document.operations[0].name
            except GraphQLError as error:
                document = error
            body = body.get("variables")
        elif path.endswith("/file_stream"):
            body = json.loads(data)
        request = Request(time.time(), self.command, self.path, operation, body)
        self.server_state.requests.append(request)
        if fault := self.server_state.faults.hit(request):
            request.status = fault.status
            if fault.status == HANG:
                fault.over.wait()
            if fault.status in (DROP, HANG):
                self._drop()
            else:
                self._send(fault.status, b'{"error": "injected"}')
            return
        try:
            status, answer = self._route(path, data, body, document)
        except GraphQLError as error:
            status, answer = error.status, _failure(str(error))
        except Exception:
            trace = traceback.format_exc()
            self.server_state.errors.append(f"{self.command} {self.path} {operation}\n{trace}")
            status, answer = 500, _failure(trace)
        request.status = status
        self._send(status, answer)

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = do_OPTIONS = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _drop(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client was first
            pass

    def _send(self, status: int, data: bytes) -> None:
        content = "application/json" if data[:1] in (b"{", b"[") else "application/octet-stream"
        try:
            self.send_response(status)
            self.send_header("Content-Type", content)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Methods", "GET, PUT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except ConnectionError:  # a client that was killed
            self.close_connection = True

    def _check_key(self) -> None:
        expected = base64.b64encode(f"api:{self.server_state.api_key}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            raise _NOT_LOGGED_IN

    def _route(self, path: str, data: bytes, body: Any, document: Any) -> tuple[int, bytes]:
        store = self.server_state.store
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if path in ("/", "/healthz"):
            return 200, b"{}"
        if parts[0] != "storage":  # whose links are signed
            self._check_key()
        if path == "/graphql":
            if isinstance(document, GraphQLError):
                raise document
            execution = Execution(document, body, lambda *field: self.server_state.missing.add(field))
            with store.lock:
                return 200, json.dumps({"data": execution.run(store)}).encode()
        if path.endswith("/file_stream"):
            with store.lock:
                return 200, json.dumps(store.run_at("/".join(parts[1:4])).stream(body)).encode()
        if parts[:2] == ["storage", "upload"] and self.command == "PUT":
            with store.lock:
                store.uploads[parts[2]](data)
            return 200, b""
        stored = self._stored(parts)
        if stored is None:
            self.server_state.missing.add((self.command, path))
            return _NOT_FOUND
        return (200, stored.read_bytes()) if stored.is_file() else _NOT_FOUND

    def _stored(self, parts: list[str]) -> Path | None:
        """The file that a path stands for; None for a path of no known kind."""
        store = self.server_state.store
        if parts[:2] == ["storage", "blobs"]:
            return store.blob(parts[2])
        if parts[:2] == ["storage", "manifests"]:
            return store.directory / "manifests" / parts[2]
        if parts[:2] == ["storage", "runs"]:
            return store.directory / "runs" / "/".join(parts[2:])
        if parts[0] == "artifactsV2":
            return store.blob(parts[-2])
        if parts[0] == "files" and len(parts) > 4:
            return store.directory / "runs" / "/".join(parts[1:])
        return None


def _failure(message: str) -> bytes:
    return json.dumps({"errors": [{"message": message}], "data": None}).encode()
