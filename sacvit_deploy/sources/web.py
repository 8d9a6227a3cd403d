"""Images and streams by http and https: limits on size, time and redirects, and a sentence for what fails."""

from __future__ import annotations

import contextlib
import functools
import http.client
import math
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sacvit_deploy.errors import ImageError, TooLargeError, first_line
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources.addresses import shown_url
from sacvit_deploy.sources.frames import Frame, Kind, Note

SCHEMES = ("http", "https")
REDIRECTS = 5
LARGEST = 64 << 20  # bytes of an image
SILENCE = 10.0  # seconds that a server may send nothing
WHOLE = 60.0  # seconds that an image may take
SAFE = "!#$%&'()*+,/:;=?@[]~"  # in paths and queries, an escape's own sign among them
STEP = 1 << 16  # bytes asked for at a time


@dataclass(frozen=True)
class WebImage:
    """An image at an address of http or https, fetched by the thread that decodes it."""

    url: str
    kind: Kind = Kind.IMAGE

    @property
    def name(self) -> str:
        return shown_url(self.url)

    def frames(self, note: Note) -> Iterator[Frame]:
        yield Frame(self.name, Claimed(self.name, Download(self.url)), self.name)


@dataclass
class Download:
    """An image at an address, as an open file: it is fetched when it is first read."""

    url: str
    _left: bytes | None = field(default=None, repr=False)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end. Raises ImageError."""
        if self._left is None:
            self._left = fetch_image(self.url)
        data, self._left = self._left[:size], self._left[size:]
        return data


def fetch_image(url: str) -> bytes:
    """Return the bytes at an address. Raises ImageError."""
    name = shown_url(url)
    with opened(url) as response:
        kind = response.headers.get_content_type()
        if kind.startswith(("multipart/", "video/", "audio/")):
            raise ImageError(f"{name} sends {kind}, not an image; give it alone, as a stream")
        if kind in ("text/html", "application/json"):
            raise ImageError(f"{name} sent {kind}, not an image")
        return read_all(response, name)


def read_all(response: http.client.HTTPResponse, name: str, most: int | None = None) -> bytes:
    """Read an answer to its end. Raises ImageError, TooLargeError for one of more than `most` bytes, or LARGEST."""
    most = LARGEST if most is None else most
    large = TooLargeError(f"{name} is larger than {most >> 20} MB, the limit for an image from the web")
    if (response.length or 0) > most:
        raise large
    chunks: list[bytes] = []
    total = 0
    while chunk := response.read1(STEP):
        chunks.append(chunk)
        total += len(chunk)
        if total > most:
            raise large
    if response.length:  # `read1` does not mind
        raise ImageError(f"{name} broke off after {total:,} bytes, {response.length:,} before its end")
    return b"".join(chunks)


@contextlib.contextmanager
def opened(
    url: str, limit: float | None = None, *, endless: bool = False, direct: bool = False
) -> Iterator[http.client.HTTPResponse]:
    """Ask for an address and yield the answer. limit: seconds for all of the block; None: WHOLE.

    endless: what is sent may go on for ever, unless its type is an image's. direct: from this very address, by no proxy
    and without redirects. Raises ImageError, also for what reading the answer within the block raises.
    """
    name, limit = shown_url(url), WHOLE if limit is None else limit
    late = f"{name} took longer than {limit:.3g} s, the limit for an image from the web"
    with Watch(limit) as watch:
        try:
            plain, opener = _opener(url, watch, direct)
            request = urllib.request.Request(plain, headers={"User-Agent": "sacvit-deploy"})
            with opener.open(request, timeout=SILENCE) as response:
                if endless and not response.headers.get_content_type().startswith("image/"):
                    watch.lift()
                yield response
        except Exception as error:
            if watch.is_over():
                raise ImageError(late) from error
            if not isinstance(error, (OSError, http.client.HTTPException, ValueError)):  # none of the network's
                raise
            raise ImageError(_sentence(name, error)) from error
        if watch.is_over():  # what was read may end where the connection was cut
            raise ImageError(late)


def _sentence(name: str, error: Exception) -> str:
    """Say what went wrong with a request."""
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.suppress(Exception):
            error.close()
        if "redirect" in str(error.msg).lower():
            return f"{name} redirects without end, more than {REDIRECTS} times or to another kind of address"
        hint = "; put USER:PASSWORD@ before the host's name" if error.code == 401 else ""
        return f"{name} answered {error.code} {first_line(Exception(error.reason))}{hint}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return f"{name}: its host is not known ({reason.strerror}); check the name and the network"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{name}: its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, ssl.SSLError):
        return f"{name}: TLS failed ({reason.reason or first_line(reason)}); does the server speak https there?"
    if isinstance(reason, TimeoutError):
        return f"{name} sent nothing for {SILENCE:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return f"can't reach {name}: {reason.strerror}"
    if isinstance(reason, http.client.IncompleteRead):
        return f"{name} broke off before its end"
    if isinstance(reason, http.client.HTTPException):
        return f"{name} gave no answer of HTTP ({type(reason).__name__})"
    text = reason if isinstance(reason, str) else f"{type(reason).__name__}: {first_line(reason)}"
    return f"can't read {name} ({text})"


class Watch:
    """Ends connections when their time is over: a server that sends a byte now and then never runs into a timeout."""

    def __init__(self, limit: float) -> None:
        self._due = monotonic() + limit
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(limit, self._cut)

    def __enter__(self) -> Watch:
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for connection in self._sockets:
            connection.close()

    def is_over(self) -> bool:
        """Whether the time is over."""
        return monotonic() >= self._due

    def lift(self) -> None:
        """Let the connections take as long as they like from now on."""
        self._timer.cancel()
        self._due = math.inf

    def add(self, connection: socket.socket) -> None:
        """Watch a connection, by a socket of its own: TLS takes the first one away."""
        self._sockets.append(connection.dup())
        if self.is_over():
            self._cut()

    def _cut(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = REDIRECTS
    max_repeats = REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme.lower() not in SCHEMES:
            raise urllib.error.HTTPError(newurl, code, "redirect to another kind of address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str, watch: Watch, direct: bool) -> tuple[str, urllib.request.OpenerDirector]:
    """Return an address without its user and password, and what opens it with them: http and https alone."""
    parts = urlsplit(url)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    host = parts.netloc.rpartition("@")[2]
    host = host if host.isascii() else host.encode("idna").decode()
    path, query = (quote(part, safe=SAFE) for part in (parts.path, parts.query))  # spaces, letters beyond ASCII
    plain = urlunsplit(parts._replace(netloc=host, path=path, query=query, fragment=""))
    if parts.username is not None:
        passwords.add_password(
            None, f"{parts.scheme}://{host}/", unquote(parts.username), unquote(parts.password or "")
        )

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.add(self.sock)

    class Secure(http.client.HTTPSConnection, Plain):  # wraps what Plain has connected
        pass

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            return self.do_open(Secure, req, context=_context())

    opener = urllib.request.OpenerDirector()
    indirect = () if direct else (urllib.request.ProxyHandler(), _Redirects())
    for handler in (
        *indirect,
        PlainHandler(),
        SecureHandler(),
        urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return plain, opener


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
