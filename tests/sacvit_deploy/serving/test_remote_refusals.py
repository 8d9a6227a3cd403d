"""Stage 2 elsewhere: what a server says no to is not taken for a server that can't be reached."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import Prediction, RemoteError, RequestError, SACViT
from tests.answering import HttpAnswer, answering
from tests.data import record
from tests.servers import MISSING, REASON, Running, serving

IMAGE = record.TINY_IMAGES[0]


def edge(url: str, **options: Any) -> SACViT:
    """Open stage 1 alone, with stage 2 elsewhere."""
    options = {"stage_two_timeout": 60.0, "stage_two_fallback": "stage_one", **options}
    return SACViT(record.BEFORE, precision="fp32", threads=1, stage_two=url, **options)


@pytest.fixture(scope="module")
def variant() -> str:
    remote = edge("http://127.0.0.1:1").opened.remote
    assert remote is not None
    return remote.variant


def facts(variant: str) -> HttpAnswer:
    """What GET /stage2 gives."""
    return HttpAnswer(200, json.dumps({"variant": variant, "format": 1}).encode())


def answered(variant: str) -> HttpAnswer:
    """What POST /stage2 gives for one request."""
    classes = edge("http://127.0.0.1:1").config.geometry.classes
    logits = base64.b64encode(np.arange(classes, dtype="<f4").tobytes()).decode()
    return HttpAnswer(200, json.dumps({"variant": variant, "results": [{"logits": logits}]}).encode())


def refused(server: Running) -> list[str]:
    """What the server's metrics say of bodies that were too large."""
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return [line for line in lines if not line.startswith("#") and "_created" not in line and '"413"' in line]


@pytest.mark.skipif(bool(MISSING), reason=REASON)
@pytest.mark.parametrize("limit", [("--max-images", "5"), ("--max-queue", "3")])
def test_a_server_with_lower_limits_gets_smaller_requests(limit: tuple[str, str]) -> None:
    with serving(*limit, "--precision", "fp32", bundle=record.BEFORE) as server:
        model = edge(server.url, stage_two_retries=0)
        results = model.predict_batch([IMAGE] * 40, eta=1.0)
        assert [isinstance(one, Prediction) and (one.stage, one.fallback) for one in results] == [(2, None)] * 40
        before = refused(server)
        assert before
        model.predict_batch([IMAGE] * 40, eta=1.0)
        assert refused(server) == before  # the limit is known by now


def test_one_request_that_is_too_large_is_refused_and_the_next_is_sent(variant: str) -> None:
    calls: list[str] = []

    def reply(number: int, method: str) -> HttpAnswer:
        calls.append(method)
        return facts(variant) if method == "GET" else HttpAnswer(413, b'{"error": "send less"}')

    with answering(reply) as url:
        model = edge(url, stage_two_retries=3)
        for _ in range(2):  # no rest
            (result,) = model.predict_batch([IMAGE], eta=1.0)
            assert isinstance(result, RequestError) and "refused the request (HTTP 413: send less)" in str(result)
    assert calls == ["GET", "POST", "POST"]


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(variant: str) -> None:
    calls: list[int] = []

    def reply(number: int, method: str) -> HttpAnswer:
        calls.append(number)
        seconds = "1" if number == 0 else "3600"
        return HttpAnswer(429, b"{}", {"Retry-After": seconds})

    with answering(reply) as url:
        model = edge(url, stage_two_retries=0)
        said = model.predict(IMAGE, eta=1.0).fallback
        assert said is not None and "HTTP 429" in said
        time.sleep(1.1)
        model.predict(IMAGE, eta=1.0)
        said = model.predict(IMAGE, eta=1.0).fallback
        assert said is not None and "not asked again yet" in said
    assert calls == [0, 1]
    with answering(lambda number, method: HttpAnswer(502, b"")) as url:  # which says nothing of when
        model = edge(url, stage_two_retries=0)
        for _ in range(2):
            said = model.predict(IMAGE, eta=1.0).fallback
            assert said is not None and "HTTP 502" in said


def test_a_reply_for_another_variant_is_no_answer(variant: str) -> None:
    other = answered("0" * 64)
    with answering(lambda number, method: facts(variant) if method == "GET" else other) as url:
        (result,) = edge(url).predict_batch([IMAGE], eta=1.0)
    assert isinstance(result, RequestError) and "answered for another bundle or precision (000000000000)" in str(result)


def test_a_request_that_dies_on_a_kept_connection_counts_as_a_try(variant: str) -> None:
    calls: list[str] = []
    good = answered(variant)

    def reply(number: int, method: str) -> HttpAnswer:
        calls.append(method)
        return facts(variant) if method == "GET" else good._replace(close=number == 2)

    with answering(reply, "HTTP/1.1") as url:
        model = edge(url, stage_two_retries=0)
        assert model.predict(IMAGE, eta=1.0).stage == 2
        assert model.predict(IMAGE, eta=1.0).fallback is not None
    assert calls == ["GET", "POST", "POST"]


@contextmanager
def dripping(data: bytes) -> Iterator[str]:
    """Answer every connection with a byte each tenth of a second."""
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                for byte in data:
                    connection.sendall(bytes([byte]))
                    if over.wait(0.1):
                        return
            except OSError:
                return

    def listen(listener: socket.socket) -> None:
        while True:
            try:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, args=(listener,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_reply_that_drips_ends_with_the_time(head: bytes) -> None:
    with dripping(head + 9000 * b"a") as url:  # fifteen minutes of it
        model = edge(url, stage_two_retries=0, stage_two_timeout=0.5, stage_two_fallback="error")
        start = time.monotonic()
        with pytest.raises(RemoteError, match=r"it took more than 0\.5 s"):
            model.predict(IMAGE, eta=1.0)
        assert time.monotonic() - start < 60
