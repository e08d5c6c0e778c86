"""Downloads, from a server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from yolo_lightning.errors import InputError
from yolo_lightning.models import load_weights, official_state_dict, resolve_weights, yolov5
from yolo_lightning.models.download import OFFICIAL_FILES, download_weights

Respond = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers as told, and remembers what was asked."""

    respond: Respond
    asked: list[str]
    daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/release"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        self.server.respond(self)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("YOLO_LIGHTNING_WEIGHTS_URL", server.address + "/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with the tensors of the published YOLOv5n."""
    path = tmp_path_factory.mktemp("weights") / "n.pt"
    torch.save({name: tensor.half() for name, tensor in official_state_dict(yolov5("n")).items()}, path)
    return path.read_bytes()


def _send(body: bytes, claimed: int | None = None, status: int = 200) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_ten_files_are_known() -> None:
    assert set(OFFICIAL_FILES.values()) == {"n", "s", "m", "l", "x", "n6", "s6", "m6", "l6", "x6"}


def test_download_once(server: Server, cache: Path, weights: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    server.respond = _send(weights)
    assert len(load_weights(yolov5("n"), "yolov5n.pt").transferred) == 349
    said = capsys.readouterr().err
    assert "AGPL-3.0" in said
    assert server.address in said
    assert len(load_weights(yolov5("n"), "yolov5n.pt").transferred) == 349
    assert "AGPL-3.0" not in capsys.readouterr().err
    assert server.asked == ["/release/yolov5n.pt"]
    assert (cache / "weights" / "yolov5n.pt").read_bytes() == weights
    assert _files(cache) == ["yolov5n.pt"]


@pytest.mark.parametrize("path", ["yolov5n-seg.pt", "yolov9n.pt", "other/yolov5n.pt", "yolov5n"])
def test_other_names_are_not_downloaded(path: str, server: Server, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="do not exist"):
        load_weights(yolov5("n"), path)
    assert server.asked == []


def test_download_again(server: Server, cache: Path, weights: bytes) -> None:
    server.respond = _send(weights)
    for _ in range(2):
        assert resolve_weights("yolov5n.pt", force_download=True) == cache / "weights" / "yolov5n.pt"
    assert server.asked == ["/release/yolov5n.pt"] * 2


def test_weights_at_an_address(server: Server, cache: Path, weights: bytes) -> None:
    server.respond = _send(weights)
    address = f"{server.address}/mine/best.pt?version=2"
    for _ in range(2):
        assert len(load_weights(yolov5("n"), address).transferred) == 349
    assert server.asked == ["/release/mine/best.pt?version=2"]
    resolve_weights(address, force_download=True)
    assert len(server.asked) == 2
    server.respond = _send(b"<html>no weights</html>")
    with pytest.raises(InputError, match=r"best\.pt.*no file of weights"):
        resolve_weights(f"{server.address}/other/best.pt")
    assert len(_files(cache)) == 1


def test_a_file_that_is_there_is_not_downloaded(server: Server, cache: Path, weights: bytes) -> None:
    Path("yolov5n.pt").write_bytes(weights)
    assert resolve_weights("yolov5n.pt") == Path("yolov5n.pt")
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "respond", "message", "tries"),
    [
        ("yolov5n.pt", _send(b"no", status=404), "404", 1),
        ("yolov5n.pt", _send(b"no", status=503), "503", 3),
        ("yolov5n.pt", _send(b"", 0), "empty", 1),
        ("yolov5n.pt", _send(b"<html>Log in to the network</html>"), "no file of weights", 1),
        ("yolov5n.pt", _send(b"half", 4000), "ended after 4 of 4000 bytes", 3),
        ("yolov5n.pt", _send(b"huge", 2**40), "more than the 1073741824 allowed", 1),
        ("yolov5s.pt", None, "it is no YOLOv5s", 1),
    ],
)
def test_what_does_not_arrive_whole_leaves_nothing(
    name: str, respond: Respond | None, message: str, tries: int, server: Server, cache: Path, weights: bytes
) -> None:
    server.respond = respond or _send(weights)
    with pytest.raises(InputError, match=message) as error:
        load_weights(yolov5("n"), name)
    assert str(cache / "weights" / name) in str(error.value)
    assert "train from scratch" in str(error.value)
    assert len(server.asked) == tries
    assert _files(cache) == []


def test_a_fault_that_passes(server: Server, cache: Path, weights: bytes) -> None:
    answers = [_send(b"", status=500), _send(weights[:1000], len(weights)), _send(weights)]
    server.respond = lambda handler: answers.pop(0)(handler)
    assert resolve_weights("yolov5n.pt").read_bytes() == weights


def test_a_silent_server_is_given_up(server: Server, cache: Path) -> None:
    release = threading.Event()
    server.respond = lambda handler: _wait(release)
    try:
        with pytest.raises(InputError, match="timed out"):
            download_weights("yolov5n.pt", lambda path: None, timeout=0.1, attempts=2)
    finally:
        release.set()
    assert _files(cache) == []


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_WEIGHTS_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(InputError, match=r"cannot download .*refused.*put it at .*or train from scratch"):
        resolve_weights("yolov5n.pt")


@pytest.mark.parametrize("address", ["file:///etc", "ftp://127.0.0.1", "release"])
def test_only_web_addresses(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_WEIGHTS_URL", address)
    with pytest.raises(InputError, match="no web address"):
        resolve_weights("yolov5n.pt")


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.write_text("a file where the directory should be")
    with pytest.raises(InputError, match="set YOLO_LIGHTNING_CACHE"):
        resolve_weights("yolov5n.pt")
    assert server.asked == []


def test_processes_may_download_at_once(server: Server, cache: Path, weights: bytes) -> None:
    server.respond = _send(weights)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(resolve_weights, ["yolov5n.pt"] * 4))
    assert {path.read_bytes() for path in paths} == {weights}
    assert _files(cache) == ["yolov5n.pt"]


def _wait(event: threading.Event) -> None:
    event.wait(5)
