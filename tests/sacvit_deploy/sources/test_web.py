"""Images from web servers, most of which do not behave: each failure is a sentence, and none lasts."""

from __future__ import annotations

import base64
import http.server
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sacvit_deploy.errors import ImageError
from sacvit_deploy.sources import web
from sacvit_deploy.sources.addresses import shown_url
from sacvit_deploy.sources.web import Download, fetch_image
from tests.web_servers import Answer, Server, pictures, redirects, sends, serving, untrusted

DATA = pictures()[0].read_bytes()
Request = http.server.BaseHTTPRequestHandler


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short limits, and no proxy between us and this machine."""
    monkeypatch.setattr(web, "SILENCE", 0.5)
    monkeypatch.setattr(web, "WHOLE", 1.0)
    monkeypatch.setattr(web, "LARGEST", 1 << 20)
    monkeypatch.setenv("no_proxy", "*")


def endless(server: Callable[[], Server], chunk: bytes, pause: float) -> Answer:
    """A body without end or length."""

    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.end_headers()
        while not server().stopping.wait(pause):
            request.wfile.write(chunk)

    return answer


def drips_headers(request: Request) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\n")
    for number in range(600):
        request.wfile.write(b"X-%d: 1\r\n" % number)
        time.sleep(0.1)


def breaks_off(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(DATA)))
    request.end_headers()
    request.wfile.write(DATA[:1000])


def asks_for_a_password(request: Request) -> None:
    wanted = "Basic " + base64.b64encode(b"me:p@ss word").decode()
    if request.headers.get("Authorization") == wanted:
        sends(DATA)(request)
        return
    request.send_response(401)
    request.send_header("WWW-Authenticate", 'Basic realm="camera"')
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    answers: dict[str, Answer] = {
        "/a.jpg": sends(DATA),
        "/a%20%C3%BC.jpg?x=1": sends(DATA),
        "/moved": redirects("/a.jpg"),
        "/loop": redirects("/loop"),
        "/file": redirects("file:///etc/passwd"),
        "/secret": asks_for_a_password,
        "/page": sends(b"<html>", "text/html; charset=utf-8"),
        "/stream": sends(b"--x", "multipart/x-mixed-replace; boundary=x"),
        "/large": sends(bytes((1 << 20) + 1)),
        "/stalls": lambda request: time.sleep(5),
        "/endless": endless(lambda: started, bytes(1 << 16), 0),
        "/drips": endless(lambda: started, b"x", 0.05),
        "/headers": drips_headers,
        "/half": breaks_off,
        "/busy": sends(b"", status=503),
        "/noise": lambda request: request.wfile.write(b"no http\r\n\r\n") and None,
    }
    with serving(answers) as started:
        yield started


def test_an_image_is_fetched(server: Server) -> None:
    assert fetch_image(server.url("/a.jpg")) == DATA
    assert fetch_image(server.url("/moved")) == DATA
    assert fetch_image(server.url("/a ü.jpg?x=1#part")) == DATA
    assert fetch_image(server.url("/secret").replace("//", "//me:p%40ss%20word@")) == DATA
    download = Download(server.url("/a.jpg"))
    assert b"".join(iter(lambda: download.read(1000), b"")) == DATA


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/none", "answered 404 Not Found"),
        ("/busy", "answered 503"),
        ("/secret", "answered 401 Unauthorized; put USER:PASSWORD@ before the host's name"),
        ("/loop", "redirects without end, more than 5 times"),
        ("/file", "redirects without end, more than 5 times or to another kind of address"),
        ("/page", "sent text/html, not an image"),
        ("/stream", "sends multipart/x-mixed-replace, not an image; give it alone, as a stream"),
        ("/large", "is larger than 1 MB"),
        ("/endless", "is larger than 1 MB"),
        ("/stalls", "sent nothing for 0.5 s"),
        ("/drips", "took longer than 1 s"),
        ("/headers", "took longer than 1 s"),
        ("/half", f"broke off after 1,000 bytes, {len(DATA) - 1000:,} before its end"),
        ("/noise", "gave no answer of HTTP"),
    ],
)
def test_failures_are_sentences(server: Server, path: str, said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ImageError) as caught:
        fetch_image(server.url(path))
    assert str(caught.value).startswith(server.url(path))
    assert said in str(caught.value)
    assert len(server.asked) <= 7
    assert time.monotonic() - begun < 60  # seconds; the drips would last for ever


def test_hosts_that_are_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ImageError, match=r"^can't reach http://127.0.0.1:\d+/a.jpg: Connection refused$"):
            fetch_image(f"http://127.0.0.1:{free.getsockname()[1]}/a.jpg")
    with pytest.raises(ImageError, match=r"^http://no.such.invalid/a.jpg: its host is not known .*check the name"):
        fetch_image("http://no.such.invalid/a.jpg")


def test_a_password_is_not_shown() -> None:
    assert shown_url("rtsp://me:secret@10.0.0.1:554/a?b=c") == "rtsp://me:***@10.0.0.1:554/a?b=c"
    assert shown_url("http://me@host/a") == "http://me@host/a"
    with pytest.raises(ImageError) as caught:
        fetch_image("http://me:secret@no.such.invalid/a.jpg")
    assert "secret" not in str(caught.value)


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, certificate = untrusted(tmp_path)
    with serving({"/a.jpg": sends(DATA)}, context) as server:
        with pytest.raises(ImageError, match=r"a.jpg: its certificate is not trusted \(self"):
            fetch_image(server.url("/a.jpg", "https"))
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(web, "_context", lambda: trusting)
        assert fetch_image(server.url("/a.jpg", "https")) == DATA
    with serving({"/a.jpg": sends(DATA)}) as server, pytest.raises(ImageError, match=r"TLS failed .*speak https"):
        fetch_image(server.url("/a.jpg", "https"))
