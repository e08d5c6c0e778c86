"""Downloads from a server on this machine."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.inference.sources.videos import write_video
from yolo_lightning.errors import InputError
from yolo_lightning.inference import Frame
from yolo_lightning.inference.inputs import as_frames
from yolo_lightning.inference.sources import FailedSource, download, parse_sources
from yolo_lightning.inference.streams import StreamSource
from yolo_lightning.web import PrivateAddressError, check_public, content_type, redact

Respond = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers as told, path by path, and remembers what was asked."""

    daemon_threads = True
    answers: dict[str, Respond]
    asked: list[tuple[str, str | None]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.server.answers.get(self.path, _send(b"no", status=404))(self)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), _Handler)
    server.answers, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    Image.new("RGB", (32, 24), (10, 200, 30)).save(tmp_path / "source.png")
    return (tmp_path / "source.png").read_bytes()


def _send(body: bytes, status: int = 200, claimed: int | None = None, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def _send_without_length(body: bytes) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def _redirect(location: str) -> Respond:
    return _send(b"", 302, Location=location)


def test_download(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg?width=640"] = _send(b"content")
    path = download(f"{server.address}/a.jpg?width=640", tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "a.jpg"
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_stays(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = _send(b"new")
    (tmp_path / "a.jpg").write_bytes(b"mine")
    assert download(f"{server.address}/a.jpg", tmp_path).name == "a_2.jpg"
    assert download(f"{server.address}/a.jpg", tmp_path).name == "a_3.jpg"
    assert (tmp_path / "a.jpg").read_bytes() == b"mine"
    assert (tmp_path / "a_3.jpg").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/%2e%2e/%2e%2e/etc/passwd.jpg", "passwd.jpg"),
        ("/..%2f..%2fetc%2fx.jpg", "x.jpg"),
        ("/%00%1b%5B31m.jpg", "_31m.jpg"),
        ("/.bashrc.jpg", "bashrc.jpg"),
        ("/" + "x" * 500 + ".jpg", "x" * 96 + ".jpg"),
        ("/C%3A%5Cwindows%5Cx.jpg", "C_windows_x.jpg"),
        ("/%D0%B4.jpg", "д.jpg"),
        ("/a b.jpg", "a_b.jpg"),
        ("/", "download"),
    ],
)
def test_names_stay_in_the_folder(server: Server, tmp_path: Path, path: str, name: str) -> None:
    server.answers[path.replace(" ", "%20")] = _send(b"content")
    found = download(server.address + path, tmp_path / "in")
    assert found == tmp_path / "in" / name
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("respond", "message", "tries"),
    [
        (_send(b"no", 404), "404", 1),
        (_send(b"no", 403), "403", 1),
        (_send(b"no", 503), "503", 3),
        (_send(b"half", claimed=4000), "ended after 4 of 4000 bytes", 3),
        (_send(b"", claimed=10**9), "more than the 10000 allowed", 1),
        (_send(b"x" * 10_001), "more than the 10000 allowed", 1),
        (_send_without_length(b"x" * 10_001), "more than the 10000 bytes allowed", 1),
    ],
)
def test_what_does_not_arrive_whole_leaves_nothing(
    server: Server, tmp_path: Path, respond: Respond, message: str, tries: int
) -> None:
    server.answers["/a.jpg"] = respond
    with pytest.raises(InputError, match=message):
        download(f"{server.address}/a.jpg", tmp_path, max_bytes=10_000)
    assert len(server.asked) == tries
    assert not list(tmp_path.iterdir())


def test_length_is_not_needed(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = _send_without_length(b"content")
    assert download(f"{server.address}/a.jpg", tmp_path).read_bytes() == b"content"


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    release = threading.Event()
    server.answers["/a.jpg"] = lambda handler: release.wait(5)  # type: ignore[assignment,return-value]
    try:
        with pytest.raises(InputError, match="timed out"):
            download(f"{server.address}/a.jpg", tmp_path, timeout=0.1, attempts=1)
    finally:
        release.set()


def test_redirects(server: Server, tmp_path: Path) -> None:
    for number in range(10):
        server.answers[f"/{number}"] = _redirect(f"/{number + 1}")
    server.answers["/10"] = _send(b"content")
    assert download(f"{server.address}/5", tmp_path).read_bytes() == b"content"
    with pytest.raises(InputError, match=r"302|redirect"):
        download(f"{server.address}/4", tmp_path)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,hello", "gopher://x"])
def test_redirects_out_of_the_web(server: Server, tmp_path: Path, location: str) -> None:
    server.answers["/a.jpg"] = _redirect(location)
    with pytest.raises(InputError, match=r"redirects to|not allowed"):
        download(f"{server.address}/a.jpg", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["ftp://host/a.jpg", "file:///etc/passwd", "a.jpg", ""])
def test_only_the_web(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="http"):
        download(url, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_password_goes_to_its_host_only(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = _redirect(f"http://localhost:{server.server_port}/b.jpg")
    server.answers["/b.jpg"] = _send(b"content")
    url = f"http://me:se%3Acret@127.0.0.1:{server.server_port}/a.jpg"
    download(url, tmp_path)
    assert server.asked == [("/a.jpg", f"Basic {base64.b64encode(b'me:se:cret').decode()}"), ("/b.jpg", None)]


def test_password_is_not_shown(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        download(f"http://me:secret@127.0.0.1:{server.server_port}/a.jpg?token=secret&n=3", tmp_path)
    assert "secret" not in str(error.value)
    assert "a.jpg" in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "127.1"])
def test_private_addresses_are_refused(server: Server, tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match=r"no public address|cannot download"):
        download(f"http://{host}:{server.server_port}/a.jpg", tmp_path, allow_private=False)
    assert server.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(PrivateAddressError):
        check_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_addresses_that_are_public(address: str) -> None:
    check_public(address, 80)


def test_redirect_into_the_private_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place on the way is checked, and again after connecting, where a name may lead elsewhere."""
    server.answers["/a.jpg"] = _redirect(f"{server.address}/b.jpg")
    server.answers["/b.jpg"] = _send(b"content")
    connected: list[str] = []
    monkeypatch.setattr("yolo_lightning.web.check_public", lambda host, port: None)
    monkeypatch.setattr("yolo_lightning.web._check_address", lambda address: _refuse_the_second(connected, address))
    with pytest.raises(InputError, match="not here"):
        download(f"{server.address}/a.jpg", tmp_path, allow_private=False)
    assert [path for path, _ in server.asked] == ["/a.jpg"]


def _refuse_the_second(connected: list[str], address: str) -> None:
    connected.append(address)
    if len(connected) > 1:
        raise PrivateAddressError("not here")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("http://host/a.jpg", "http://host/a.jpg"),
        ("rtsp://me:pass@host:554/a?channel=1&key=abc#x", "rtsp://***@host:554/a?channel=1&key=***"),
        ("http://me@host", "http://***@host"),
        ("http://a:b@[::1/x", "http://***@[::1/x"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_as_sources(server: Server, tmp_path: Path, picture: bytes) -> None:
    server.answers["/bus.png"] = _send(picture)
    server.answers["/clip.mp4?id=7"] = _send(write_video(tmp_path / "clip.mp4").read_bytes())
    server.answers["/page.jpg"] = _send(b"<html>log in</html>")
    names = ("bus.png", "clip.mp4?id=7", "page.jpg", "gone.jpg")
    sources = parse_sources([f"{server.address}/{name}" for name in names], downloads=tmp_path / "downloads")
    events = [event for source in sources for event in source]
    assert [event.source for event in events[:2]] == [f"{server.address}/{name}" for name in names[:2]]
    assert [event.name for event in events[:2] if isinstance(event, Frame)] == ["bus.png", "clip.mp4"]
    assert sum(isinstance(event, Frame) for event in events) == 13
    assert [event.source for event in events[13:]] == [f"{server.address}/{name}" for name in names[2:]]
    assert isinstance(sources[-1], FailedSource)
    assert "404" in sources[-1].failure.reason


def test_as_source_into_a_folder_of_its_own(server: Server, picture: bytes) -> None:
    server.answers["/bus.png"] = _send(picture)
    (source,) = parse_sources([f"{server.address}/bus.png"])
    (frame,) = source
    assert isinstance(frame, Frame)
    assert frame.size == (24, 32)


def test_as_source_in_the_private_network(server: Server, tmp_path: Path, picture: bytes) -> None:
    server.answers["/bus.png"] = _send(picture)
    with pytest.raises(InputError, match="no public address"):
        parse_sources([f"{server.address}/bus.png"], allow_private_addresses=False, downloads=tmp_path)
    assert server.asked == []


@pytest.fixture
def with_head(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server answers requests for the headers, too."""
    monkeypatch.setattr(_Handler, "do_HEAD", _Handler.do_GET, raising=False)
    return server


@pytest.mark.parametrize("head", [True, False])
def test_picture_without_an_ending(server: Server, picture: bytes, head: bool, request: pytest.FixtureRequest) -> None:
    """It is a picture, not a stream that ends after each frame."""
    if head:
        request.getfixturevalue("with_head")
    for number in (7, 8):
        server.answers[f"/pic?id={number}"] = _send(picture, **{"Content-Type": "Image/PNG; q=1"})
    sources = parse_sources([f"{server.address}/pic?id={number}" for number in (7, 8)])
    frames = [event for source in sources for event in source]
    assert all(isinstance(frame, Frame) for frame in frames)
    assert [frame.source for frame in frames] == [f"{server.address}/pic?id={number}" for number in (7, 8)]
    assert len({frame.name for frame in frames}) == 2
    assert not sources[0].live


def test_predictor_takes_a_picture_without_an_ending(server: Server, picture: bytes) -> None:
    server.answers["/pic?id=7"] = _send(picture, **{"Content-Type": "image/png"})
    (frame,) = as_frames(f"{server.address}/pic?id=7")
    assert frame.size == (24, 32)


@pytest.mark.parametrize("kind", [None, "video/mp4", "multipart/x-mixed-replace; boundary=b", "text/html"])
def test_what_may_be_a_stream(with_head: Server, kind: str | None) -> None:
    with_head.answers["/live"] = _send(b"", **({} if kind is None else {"Content-Type": kind}))
    (source,) = parse_sources([f"{with_head.address}/live"])
    assert isinstance(source, StreamSource)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/pic", "http://"])
def test_content_type_of_no_server(server: Server, url: str) -> None:
    assert content_type(url, timeout=1) is None


def test_content_type(server: Server, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content_type(f"{server.address}/missing") is None
    server.answers["/a"] = _send(picture, **{"Content-Type": "image/png"})
    server.answers["/b"] = _send(b"", status=302, Location="/a")
    server.answers["/c"] = _send(b"", status=302, Location="file:///etc/passwd")
    server.answers["/slow"] = lambda handler: released.wait(10)
    released = threading.Event()
    assert content_type(f"{server.address}/a") == "image/png"
    assert content_type(f"{server.address}/b") == "image/png"
    assert content_type(f"{server.address}/c") is None
    assert content_type(f"{server.address}/a", allow_private=False) is None
    assert content_type(f"{server.address}/slow", timeout=0.1) is None
    released.set()
    monkeypatch.setattr(_Handler, "do_HEAD", lambda handler: handler.connection.close(), raising=False)
    assert content_type(f"{server.address}/a") == "image/png", "it hangs up when asked for the headers"
