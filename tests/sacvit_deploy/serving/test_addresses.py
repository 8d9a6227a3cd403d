"""Images by their address: what is allowed, how long it may take, and what a slow one costs the others."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sacvit_deploy.errors import ImageError, TooLargeError, UsageError
from sacvit_deploy.serving.urls import allowed, check_prefix, fetch
from tests.servers import MISSING, PATIENCE, REASON, ROOT, serving, wait_for_images

PICTURE = (ROOT / "examples/pictures/01_panda_medium.jpg").read_bytes()
PREFIX = "https://host/pub/"


@dataclass
class Web:
    """A server of an image at /panda.jpg, and of others of which a byte comes now and then."""

    url: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.set()
            if self.path == "/slow-head":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(PICTURE)))
                self.end_headers()
            if self.path == "/panda.jpg":
                self.wfile.write(PICTURE)
                return
            try:
                while not web.over.wait(0.05):
                    self.wfile.write(b"x")
            except OSError:  # they have had enough
                pass

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    yield web
    web.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["a.jpg", "a/b%20c.jpg", "a..b/..c?x=1", "100%25.jpg", ""])
def test_what_is_below_a_prefix_is_allowed(path: str) -> None:
    assert allowed(PREFIX + path, (PREFIX,))


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "..",
        "a/../../secret",
        "%2e%2e/secret",
        "..%2Fsecret",
        "a%2F..%2F..%2Fsecret",
        "..%2fsecret",
        "%2E%2E%2Fsecret",
        "..%252Fsecret",
        "%25252e%25252e/secret",
        "..\\secret",
        "..%5Csecret",
        "..;x=1/secret",
        "..%3Fx",
        "a b",
        "%" + "25" * 1000,
    ],
)
def test_what_climbs_out_is_not(path: str) -> None:
    assert not allowed(PREFIX + path, (PREFIX,))


def test_other_places_are_not_allowed() -> None:
    for url in ("https://host/public", "http://host/pub/a.jpg", "https://host.evil/pub/", "file:///pub/"):
        assert not allowed(url, (PREFIX,))


@pytest.mark.parametrize(
    "prefix",
    [
        "https://host",
        "https://host/pub",
        "ftp://host/",
        "https://me@host/",
        "https://host/?at=/",
        "/pub/",
        "http://[x/",
    ],
)
def test_a_prefix_ends_with_a_slash(prefix: str) -> None:
    assert check_prefix(PREFIX) == PREFIX
    with pytest.raises(UsageError, match="ends with a slash"):
        check_prefix(prefix)


@pytest.mark.parametrize("path", ["/slow", "/slow-head"])
def test_a_byte_now_and_then_ends_in_time(web: Web, path: str) -> None:
    with pytest.raises(ImageError, match="took longer than"):
        fetch(web.url + path, 1 << 20, time.monotonic() + 0.5)


def test_limits_of_a_fetch(web: Web) -> None:
    url = f"{web.url}/panda.jpg"
    assert fetch(url, len(PICTURE), time.monotonic() + PATIENCE) == PICTURE
    with pytest.raises(TooLargeError, match="--max-body"):
        fetch(url, len(PICTURE) - 1, time.monotonic() + PATIENCE)
    with pytest.raises(ImageError, match="ask again"):
        fetch(url, len(PICTURE), time.monotonic() - 1)


@pytest.mark.skipif(bool(MISSING), reason=REASON)
def test_a_slow_address_costs_nobody_else_anything(web: Web) -> None:
    # Of 512 MB that may be held, the fetch may bring 300; one thread decodes.
    with serving("--max-body", "300", "--allow-url", f"{web.url}/") as server:
        slow = server.connect()
        slow.request("POST", f"/predict?url={web.url}/slow")
        assert web.asked.wait(PATIENCE)
        assert server.ask("POST", "/predict", PICTURE).json()["label"] == "panda"
        other = server.ask("POST", f"/predict?url={web.url}/panda.jpg")
        assert other.status == 503 and "as many bytes" in other.json()["error"]
        web.over.set()
        answer = slow.getresponse()
        assert answer.status == 400 and b"error" in answer.read()
        slow.close()
        for _ in range(2):  # and its room was given back
            wait_for_images(server, 0)
            assert server.ask("POST", f"/predict?url={web.url}/panda.jpg").json()["label"] == "panda"
