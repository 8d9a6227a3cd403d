"""What a server refuses, how it stops, and where it listens."""

from __future__ import annotations

import http.server
import io
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.servers import (
    BUNDLE,
    MISSING,
    PATIENCE,
    REASON,
    ROOT,
    Running,
    begin,
    form,
    read_answer,
    serving,
    wait_for_images,
    wait_until_it_listens_no_more,
)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
PICTURE = ROOT / "examples/pictures/01_panda_medium.jpg"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of files: /images/panda.jpg, and /images/away, which leads to it from another place."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "images").mkdir()
    (folder / "images/panda.jpg").write_bytes(PICTURE.read_bytes())
    (folder / "secret.jpg").write_bytes(PICTURE.read_bytes())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path != "/images/away":
                super().do_GET()
                return
            self.send_response(302)
            self.send_header("Location", "/secret.jpg")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def small(web: str) -> Iterator[Running]:
    """A server with small limits."""
    options = ("--max-body", "1", "--max-queue", "3", "--max-images", "3", "--max-pixels", "100000")
    with serving(*options, "--allow-url", f"{web}/images/") as running:
        yield running


def test_bodies(small: Running) -> None:
    assert small.ask("POST", "/predict", bytes((1 << 20) + 1)).status == 413
    chunked = small.connect()
    chunked.putrequest("POST", "/predict")
    chunked.putheader("Transfer-Encoding", "chunked")
    chunked.endheaders()
    status = 0
    try:
        for _ in range(3):
            chunked.send(b"80000\r\n" + bytes(0x80000) + b"\r\n")
        chunked.send(b"0\r\n\r\n")
        status = chunked.getresponse().status
    finally:
        chunked.close()
    assert status == 413
    claimed = begin(small, 1 << 40)
    assert b" 413 " in read_answer(claimed)
    claimed.close()


def test_pixels(small: Running) -> None:
    buffer = io.BytesIO()
    Image.new("L", (1000, 101)).save(buffer, "PNG")
    reply = small.ask("POST", "/predict", buffer.getvalue())
    assert reply.status == 413 and "over the limit of 100,000" in reply.json()["error"]


def test_images_of_one_request(small: Running) -> None:
    body, headers = form([(str(number), b"x") for number in range(4)])
    reply = small.ask("POST", "/predict", body, headers)
    assert reply.status == 413 and "3 images" in reply.json()["error"]


def test_a_full_server_refuses_and_answers_what_it_has(small: Running) -> None:
    raw = PICTURE.read_bytes()
    held = [begin(small, len(raw)) for _ in range(3)]
    wait_for_images(small, 3)
    reply = small.ask("POST", "/predict", raw)
    assert reply.status == 429 and reply.headers["retry-after"] == "1"
    assert "ask again" in reply.json()["error"]
    assert small.ask("GET", "/v2/health/ready").status == 200
    for connection in held:
        connection.sendall(raw[1:])
        assert b'"label": "panda"' in read_answer(connection)
        connection.close()
    assert small.ask("POST", "/predict", raw).status == 200


def test_a_connection_that_is_closed_gives_its_place_back(small: Running) -> None:
    for connection in [begin(small, 5000) for _ in range(3)]:
        connection.close()
    wait_for_images(small, 0)
    assert small.ask("POST", "/predict", PICTURE.read_bytes()).status == 200


def test_addresses(small: Running, web: str) -> None:
    assert small.ask("POST", f"/predict?url={web}/images/panda.jpg").json()["label"] == "panda"
    for path, status in (
        ("/secret.jpg", 403),
        ("/images/../secret.jpg", 403),
        ("/images/%252e%252e/secret.jpg", 403),
        ("/images/a%252F..%252F..%252Fsecret.jpg", 403),
        ("/images/away", 400),
        ("/images/none.jpg", 400),
    ):
        reply = small.ask("POST", f"/predict?url={web}{path}")
        assert (reply.status, "error" in reply.json()) == (status, True), path
    assert small.ask("POST", "/predict?url=file:///etc/passwd").status == 403


def test_it_listens_for_this_machine_alone(small: Running) -> None:
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", small.port), 5)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    from sacvit_deploy.serving.command import listening

    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        assert accepted.proto == socket.IPPROTO_TCP  # what asyncio looks at before it turns Nagle's algorithm off
        accepted.close()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_stopping_answers_what_was_taken(name: str) -> None:
    with serving() as server:
        # A form, of which nobody knows yet how many images it has.
        body, headers = form([(str(number), PICTURE.read_bytes()) for number in range(2)])
        held = begin(server, len(body), body[:1], headers)
        idle = server.connect()
        idle.request("GET", "/v2/health/live")
        idle.getresponse().read()
        wait_for_images(server, 1)
        server.process.send_signal(getattr(signal, name))
        wait_until_it_listens_no_more(server)
        held.sendall(body[1:])
        answer = read_answer(held)
        assert b'"source": "1"' in answer and b'"label": "panda"' in answer, answer
        held.close()
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.said


def test_an_address_that_is_taken_is_one_line(small: Running) -> None:
    command = [sys.executable, "-m", "sacvit_deploy", "serve", str(BUNDLE), "--port", str(small.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"can't listen on 127.0.0.1 port {small.port}" in done.stderr
