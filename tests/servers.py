"""`sacvit serve` as a process of its own, on a free port, and plain HTTP to it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from tests.processes import start_process

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "examples/int8/model.sacvit"
MISSING = [name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client") if find_spec(name) is None]
REASON = f"NOT TESTED: sacvit serve needs {', '.join(MISSING)}; pip install 'sacvit-deploy[serve]'"
PATIENCE = 120.0  # seconds for what takes one or two on an idle machine


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    output: IO[bytes]

    @property
    def said(self) -> str:
        """What it has written."""
        return _written(self.output).decode("utf-8", "replace")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send one request on a connection of its own."""
        connection = self.connect()
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request on a connection that may be used again."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Reply(response.status, dict(response.getheaders()), response.read())


@contextmanager
def serving(*options: str, bundle: Path = BUNDLE) -> Iterator[Running]:
    """Start a server and wait until it says where it is; kill it at the end of the block."""
    command = [sys.executable, "-m", "sacvit_deploy", "serve", str(bundle), "--port", "0", "--threads", "1", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    # A file, as a pipe that nobody reads stops the server once libtiff has complained often enough.
    with tempfile.TemporaryFile("w+b") as output:
        process = start_process(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Running(process, _port(process, output), output)
        finally:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[str], output: IO[bytes]) -> int:
    end = time.monotonic() + PATIENCE
    while True:
        ended = process.poll() is not None
        if found := re.search(rb" at http://\S+?:(\d+)", told := _written(output)):
            return int(found[1])
        if ended or time.monotonic() > end:
            raise AssertionError(f"the server did not start: {told.decode()}")
        time.sleep(0.02)


def _written(output: IO[bytes]) -> bytes:
    """Return what was written so far; the position, which the server's descriptor shares, stays at the end."""
    return os.pread(output.fileno(), 1 << 20, 0)


def form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """Return a multipart body with files, and its headers."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def infer_json(images: Sequence[bytes], **parameters: float) -> bytes:
    """Return the body of a KServe request with image files as base64."""
    data = [base64.b64encode(image).decode() for image in images]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}
    return json.dumps({"id": "7", "inputs": [tensor], "parameters": parameters}).encode()


def infer_binary(datatype: str, name: str, shape: Sequence[int], raw: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body of a KServe request with a binary tensor, and its headers."""
    tensor = {"name": name, "datatype": datatype, "shape": list(shape), "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def begin(
    server: Running, claimed: int, first: bytes = b"\xff", headers: Mapping[str, str] | None = None
) -> socket.socket:
    """Send the head of a request to /predict, and the first bytes of its body."""
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {claimed}\r\n{lines}\r\n"
    connection.sendall(head.encode() + first)
    return connection


def read_answer(connection: socket.socket) -> bytes:
    """Read until the other side closes, or a body is whole."""
    read = b""
    while more := connection.recv(1 << 16):
        read += more
        head, _, body = read.partition(b"\r\n\r\n")
        if (found := re.search(rb"content-length: (\d+)", head)) and len(body) >= int(found[1]):
            break
    return read


def wait_for_images(server: Running, count: int) -> None:
    """Wait until so many images are in the server."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if f"sacvit_queue_images {float(count)}\n" in server.ask("GET", "/metrics").body.decode():
            return
        time.sleep(0.02)
    raise AssertionError("they did not come")


def wait_until_it_listens_no_more(server: Running) -> None:
    """Wait until the server refuses connections."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", server.port), 5).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("it still listens")
