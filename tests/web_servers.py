"""Web servers on this machine for tests: they serve, stall, drip, loop and break off."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """Answers each path by a function of its own. `stopping` is set at the end: endless answers watch it."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers, self.stopping, self.asked = answers, threading.Event(), list[str]()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                answer = server.answers.get(self.path)
                with contextlib.suppress(OSError):  # the client may have gone
                    if answer is None:
                        self.send_error(404)
                    else:
                        answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def url(self, path: str, scheme: str = "http") -> str:
        """The address of a path."""
        return f"{scheme}://127.0.0.1:{self.http.server_address[1]}{path}"


@contextlib.contextmanager
def serving(answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server while the block lasts."""
    server = Server(answers)
    if tls is not None:
        server.http.socket = tls.wrap_socket(server.http.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join(10)


def sends(data: bytes, kind: str = "image/jpeg", status: int = 200) -> Answer:
    """An answer with a body and its length."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


def redirects(to: str) -> Answer:
    """An answer that sends elsewhere."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.end_headers()

    return answer


def motion_jpeg(frames: list[bytes], server: Callable[[], Server], *, rate: float, ends: bool) -> Answer:
    """A stream of JPEGs as cameras send it, `rate` a second. ends: by its closing boundary, or it breaks off."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        for data in frames:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            request.wfile.write(head.encode() + data + b"\r\n")
            if server().stopping.wait(1 / rate):
                return
        if ends:
            request.wfile.write(b"--frame--\r\n")
        else:
            request.connection.shutdown(socket.SHUT_RDWR)

    return answer


def untrusted(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate for 127.0.0.1 that nobody trusts, and the certificate's file."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    try:
        subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: there is no openssl here to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context, made


def pictures() -> list[Path]:
    """The example's photographs that are JPEGs."""
    return sorted((Path(__file__).parents[1] / "examples/pictures").glob("*.jpg"))
