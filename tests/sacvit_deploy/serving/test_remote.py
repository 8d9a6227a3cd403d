"""Stage 1 here, stage 2 in a real server: the same answers; and what happens where it gives none."""

from __future__ import annotations

import http.server
import json
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import (
    BackendError,
    BundleError,
    ImageError,
    Prediction,
    RemoteError,
    RequestError,
    SACViT,
    UsageError,
)
from sacvit_deploy.connection import TimedSocket
from sacvit_deploy.request import HEADER
from tests.answering import HttpAnswer, answering
from tests.data import record
from tests.servers import BUNDLE, MISSING, REASON, ROOT, Running, serving
from tests.soak.answers import TOLERANCE

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
PICTURES = sorted((ROOT / "examples/pictures").iterdir())
FIRST = PICTURES[0]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def whole() -> SACViT:
    return SACViT(BUNDLE, threads=1)


def edge(url: str, **options: Any) -> SACViT:
    """Open stage 1 alone, with stage 2 elsewhere."""
    return SACViT(BUNDLE, threads=1, stage_two=url, **{"stage_two_timeout": 60.0, **options})


def assert_same(found: object, expected: object) -> None:
    assert isinstance(found, Prediction) and isinstance(expected, Prediction), (found, expected)
    assert (found.source, found.label, found.stage) == (expected.source, expected.label, expected.stage)
    assert (found.targets is None) == (expected.targets is None)
    if found.targets is not None:
        np.testing.assert_array_equal(found.targets, expected.targets)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=TOLERANCE)
    assert found.fallback is None and "fallback" not in found.to_dict()


def test_the_same_answers(server: Running, whole: SACViT) -> None:
    model = edge(server.url + "/")
    sources = [*PICTURES[:20], b"no picture", *PICTURES[20:]]
    results = list(model.stream(sources, batch_size=16))
    assert isinstance(results.pop(20), ImageError)
    for found, expected in zip(results, whole.stream(PICTURES, batch_size=16), strict=True):
        assert_same(found, expected)
    assert list(model.cascade._engines) == ["ee"]
    with pytest.raises(BackendError, match="stage ee alone"):
        model.cascade.run_both(np.zeros((1, 224, 224, 3), np.uint8), [24])
    steps = [set(result.timing) for result in results if isinstance(result, Prediction) and result.stage == 2]
    assert len(steps) == 15 and all({"ee", "gather", "remote"} <= step and "sac" not in step for step in steps)


def test_one_image_more_than_a_request_may_have_and_a_pickle(server: Running, whole: SACViT) -> None:
    model = pickle.loads(pickle.dumps(edge(server.url)))
    found = model.predict(FIRST, eta=1.0, alpha=0.3)
    assert_same(found, whole.predict(FIRST, eta=1.0, alpha=0.3))
    # To the last bit, as the server runs the same engine on the same batch.
    np.testing.assert_array_equal(found.probabilities, whole.predict(FIRST, eta=1.0, alpha=0.3).probabilities)
    results = model.predict_batch([FIRST] * 70, eta=1.0)
    assert {(result.label, result.stage) for result in results} == {(found.label, 2)}


def test_a_server_that_takes_small_bodies_gets_them(whole: SACViT) -> None:
    with serving("--max-body", "1") as server:  # nine requests; 413 comes before all of a larger body was sent
        results = edge(server.url, stage_two_retries=0).predict_batch([FIRST] * 20, eta=1.0)
    expected = whole.predict(FIRST, eta=1.0)
    for result in results:
        assert_same(result, expected)


def test_a_connection_is_used_again_and_one_that_was_closed_is_no_failure(whole: SACViT) -> None:
    with serving() as first:
        model = edge(first.url, stage_two_retries=0)
        expected = model.predict(FIRST, eta=1.0)
        assert model.opened.remote is not None
        connection = model.opened.remote._connection
        owner, kept = connection._kept
        assert kept is not None and isinstance(kept.sock, TimedSocket)
        assert_same(model.predict(FIRST, eta=1.0), expected)
        assert connection._kept == (owner, kept)
        kept.sock.sock.shutdown(socket.SHUT_RDWR)  # as a server or a router between ends it
        assert_same(model.predict(FIRST, eta=1.0), expected)
        assert connection._kept[1] is not kept


def test_another_bundle_or_precision_is_refused_at_the_first_request(server: Running) -> None:
    model = SACViT(record.BEFORE, precision="fp32", threads=1, stage_two=server.url, stage_two_fallback="stage_one")
    with pytest.raises(BundleError, match="another bundle or precision"):
        model.predict(record.TINY_IMAGES[0], eta=1.0)
    assert isinstance(model.predict(record.TINY_IMAGES[0], eta=0.0), Prediction)  # exits need no stage 2


def test_nobody_listens(whole: SACViT) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    model = edge(url, stage_two_retries=1)
    with pytest.raises(RemoteError, match=r"00_clock.*gave no answer \("):
        model.predict(FIRST, eta=1.0)
    exits = [path for path in PICTURES[:8] if whole.predict(path).stage == 1]
    assert all(isinstance(result, Prediction) for result in model.predict_batch(exits))  # the others are not asked
    fallback = edge(url, stage_two_retries=0, stage_two_fallback="stage_one")
    found = fallback.predict(FIRST, eta=1.0)
    expected = whole.predict(FIRST, eta=0.0)
    assert (found.stage, found.label, found.targets) == (1, expected.label, None)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.fallback is not None and "gave no answer" in found.fallback
    assert json.loads(json.dumps(found.to_dict()))["fallback"] == found.fallback


def test_a_server_that_is_silent_is_waited_for_once(whole: SACViT) -> None:
    with answering(lambda number, method: None) as url:
        model = edge(url, stage_two_timeout=0.5, stage_two_retries=1, stage_two_fallback="stage_one")
        start = time.monotonic()
        results = list(model.stream(PICTURES[:12], batch_size=4, eta=1.0))
        taken = time.monotonic() - start
    assert all(isinstance(result, Prediction) and result.stage == 1 and result.fallback for result in results)
    assert 1.0 <= taken < 60
    said = [result.fallback for result in results if isinstance(result, Prediction)]
    assert any("not asked again yet" in (one or "") for one in said)


def test_a_busy_server_is_asked_again(server: Running, whole: SACViT) -> None:
    calls: list[str] = []

    def reply(number: int, method: str) -> HttpAnswer:
        calls.append(method)
        if number in (0, 2):
            return HttpAnswer(503, b'{"error": "the server is stopping"}')
        answer = server.ask("GET", "/stage2") if method == "GET" else None
        return HttpAnswer(200, answer.body) if answer else HttpAnswer(400, b'{"error": "a clear refusal"}')

    with answering(reply) as url:
        model = edge(url, stage_two_retries=2)
        with pytest.raises(RequestError, match=r"00_clock.*HTTP 400: a clear refusal"):
            model.predict(FIRST, eta=1.0)
    assert calls == ["GET", "GET", "POST", "POST"]  # a refusal is not tried again


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "can't be read"),
        (b"[]", "can't be read"),
        (b'{"results": []}', "0 answers to 1"),
        (b'{"results": [{}]}', "can't be read"),
        (b'{"results": [{"logits": "!"}]}', "can't be read"),
        (b'{"results": [{"logits": "AAAA"}]}', "can't be read"),
        (b'{"results": [{"logits": "AAAAAA=="}]}', "1 classes, and the bundle 60"),
        (b'{"results": [{"error": "x", "kind": "os.system"}]}', "x"),
    ],
)
def test_answers_of_something_else_are_errors(server: Running, body: bytes, words: str) -> None:
    facts = server.ask("GET", "/stage2").body
    with answering(lambda number, method: HttpAnswer(200, facts if method == "GET" else body)) as url:
        model = edge(url, stage_two_retries=0)
        (result,) = model.predict_batch([FIRST], eta=1.0)
    assert isinstance(result, RemoteError) and words in str(result), result


def test_a_server_that_changed_its_bundle_is_no_fallback(server: Running) -> None:
    facts = server.ask("GET", "/stage2").body
    refusal = json.dumps({"results": [{"error": "of another bundle", "kind": "RequestError"}]}).encode()
    with answering(lambda number, method: HttpAnswer(200, facts if method == "GET" else refusal)) as url:
        (result,) = edge(url, stage_two_fallback="stage_one").predict_batch([FIRST], eta=1.0)
    assert isinstance(result, RequestError) and FIRST.name in str(result)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage_two": "ftp://x"},
        {"stage_two": "http://"},
        {"stage_two": "http://user:word@host"},
        {"stage_two": "http://host:port"},
        {"stage_two": "http://.example:8000"},
        {"stage_two": "http://" + 64 * "h"},
        {"stage_two": "http://a host:8000"},
        {"stage_two": "http://host/gr\xfc\xdfe"},
        {"stage_two": "http://host/a path"},
        {"stage_two": "http://h", "stage_two_timeout": 0},
        {"stage_two": "http://h", "stage_two_retries": -1},
        {"stage_two_fallback": "silence"},
    ],
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="stage_two"):
        SACViT(BUNDLE, threads=1, **wrong)


def test_names_do_not_leave_this_machine(server: Running) -> None:
    seen: list[bytes] = []

    class Recording(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(server.ask("GET", self.path).body)

        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(server.ask("POST", self.path, seen[-1]).body)

        def reply(self, body: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recording)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    found = edge(f"http://127.0.0.1:{proxy.server_port}").predict(FIRST, eta=1.0)
    proxy.shutdown()
    proxy.server_close()
    assert found.source == str(FIRST)
    assert len(seen) == 1 and FIRST.name.encode() not in seen[0] and len(seen[0]) > HEADER.size
