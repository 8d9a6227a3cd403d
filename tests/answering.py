"""An HTTP server that answers as a test says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class HttpAnswer(NamedTuple):
    """Status, body and further headers. close: whether the connection ends without any of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    close: bool = False


@contextmanager
def answering(reply: Callable[[int, str], HttpAnswer | None], protocol: str = "HTTP/1.0") -> Iterator[str]:
    """Serve HTTP that answers as `reply` says, from the number of the request and its method; None: never.

    protocol: with HTTP/1.1 connections are kept.
    """
    count, over = [0], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = protocol

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            number, count[0] = count[0], count[0] + 1
            said = reply(number, self.command)
            if said is None:
                over.wait(60)
                return
            if said.close:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        do_GET = do_POST = answer

        def log_message(self, *args: object) -> None:
            pass

    there = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.daemon_threads = True
    threading.Thread(target=there.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{there.server_port}"
    finally:
        over.set()
        there.shutdown()
        there.server_close()
