"""Fetching files from the web, with care for where an address leads."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

__all__ = ["PrivateAddressError", "check_public", "content_type", "fetch", "redact"]

_CHUNK = 1 << 18
_MAX_REDIRECTS = 5
_HARMLESS = re.compile(r"\d{0,3}")


class PrivateAddressError(OSError):
    """An address on the web that leads into a private network, where it must not."""


def redact(url: str) -> str:
    """An address to show: without user and password, and without values of the query but for short numbers."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # no address at all, but there may be a password in it
        return re.sub(r"//.*@", "//***@", url)
    place = parts.netloc.rpartition("@")
    fields = [field.partition("=") for field in parts.query.split("&")] if parts.query else []
    query = "&".join(f"{key}={value if _HARMLESS.fullmatch(value) else '***'}" for key, _, value in fields)
    netloc = f"***@{place[2]}" if place[1] else place[2]
    return parts._replace(netloc=netloc, query=query, fragment="").geturl()


def check_public(host: str, port: int | None = None) -> None:
    """Makes sure that no address of a host is private, loopback, link-local, reserved or for many.

    Raises:
        PrivateAddressError: If one is.
        OSError: If the host is not known.
    """
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        _check_address(str(place[0]))


def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    timeout: float = 30.0,
    max_seconds: float = 3600.0,
    attempts: int = 3,
    allow_private: bool = True,
    title: str | None = None,
) -> None:
    """Downloads to a file, with a progress bar; tries again after faults that may pass.

    Args:
        url: ``http://`` or ``https://``; a user and a password in it are sent to its host, not to where that redirects.
        target: The file, which is replaced. What is in it after an error is worth nothing.
        max_bytes: Largest size taken.
        timeout: Longest silence of the server in seconds.
        max_seconds: Longest time of one attempt.
        attempts: How often to try.
        allow_private: Whether the address, or where it redirects, may be in a private network. If not, proxies are
            not used, and the address that is connected to is what is checked.
        title: What the progress bar says; None takes the name of the target.

    Raises:
        OSError: If the file cannot be had; the message says why and holds no password.
    """
    for attempt in range(1, attempts + 1):
        try:
            opener = _opener(allow_private)
            with opener.open(_request(url), timeout=timeout) as response, target.open("wb") as file:
                _copy(response, file, title or target.name, max_bytes, time.monotonic() + max_seconds)
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if _is_permanent(error) or attempt == attempts:
                raise OSError(_reason(error)) from error
            time.sleep(min(2.0 ** (attempt - 1), timeout))


def content_type(url: str, *, timeout: float = 3.0, allow_private: bool = True) -> str | None:
    """What a server says is at an address, such as ``image/jpeg``, in lower case; None if it does not, or no answer.

    Nothing of the content is read: the server is asked for the headers only, and by an ordinary request that is broken
    off if it refuses that.

    Args:
        url: ``http://`` or ``https://``; redirects are followed.
        timeout: Longest silence of the server in seconds.
        allow_private: As in :func:`fetch`.
    """
    for method in ("HEAD", "GET"):
        try:
            request = _request(url)
            request.method = method
            with _opener(allow_private).open(request, timeout=timeout) as response:
                if "Content-Type" in response.headers:
                    return str(response.headers.get_content_type())
        except (urllib.error.HTTPError, http.client.BadStatusLine) as error:  # the latter: hangs up without an answer
            if isinstance(error, urllib.error.HTTPError):
                error.close()
        except (OSError, http.client.HTTPException, ValueError):
            return None
    return None


class _TooLargeError(OSError):
    """More than is wanted."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.HTTPError(req.full_url, code, f"redirects to {redact(newurl)}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _PublicConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        check_public(self.host, self.port)
        super().connect()
        _check_address(self.sock.getpeername()[0])  # again, for the name may have been given another address meanwhile


class _PublicTLSConnection(_PublicConnection, http.client.HTTPSConnection):
    """The same with TLS, whose handshake is part of connecting."""


class _PublicHTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicConnection, req)


class _PublicHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicTLSConnection, req)


def _opener(allow_private: bool) -> urllib.request.OpenerDirector:
    """Speaks http and https only: no files, no ftp, no data, wherever a server redirects."""
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ]
    if allow_private:
        handlers += [urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()]
    else:
        handlers += [_PublicHTTP(), _PublicHTTPS()]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _request(url: str) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    clean = parts._replace(netloc=place, path=path, query=urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=?~"))
    request = urllib.request.Request(clean._replace(fragment="").geturl())  # noqa: S310 - the opener speaks http(s) only
    if login:
        content = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {content}")
    return request


def _copy(response: http.client.HTTPResponse, file: BinaryIO, title: str, max_bytes: int, deadline: float) -> None:
    length = response.headers.get("Content-Length")
    expected = int(length) if length and length.isdecimal() else None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    received = 0
    if expected is not None and expected > max_bytes:
        raise _TooLargeError(f"it has {expected} bytes, more than the {max_bytes} allowed")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=expected)
        while chunk := response.read1(_CHUNK):
            received += file.write(chunk)
            progress.update(task, completed=received)
            if received > max_bytes:
                raise _TooLargeError(f"it has more than the {max_bytes} bytes allowed")
            if time.monotonic() > deadline:
                raise TimeoutError("the download took too long")
    if expected is not None and received != expected:
        raise OSError(f"the connection ended after {received} of {expected} bytes")


def _check_address(address: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        raise PrivateAddressError(f"{address} is no public address")


def _is_permanent(error: Exception) -> bool:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500
    return isinstance(cause, (str, PrivateAddressError, _TooLargeError, ValueError, http.client.InvalidURL))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return str(error)
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__
