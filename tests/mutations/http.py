"""HTTP bodies that are damaged or forged, to every path of a real server, with good ones between them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from sacvit_deploy.errors import SacvitError
from tests.data import record
from tests.mutations.cases import AcceptedError, Case, Subject
from tests.mutations.mutate import damaged, forged, written
from tests.mutations.picture_seeds import image_files
from tests.mutations.wire import mutated, request_bytes
from tests.servers import Running, ask, form, infer_binary, infer_json, serving

REFUSALS = {400, 403, 404, 413, 422}
EVERY = 50  # cases between good requests
Body = tuple[str, bytes, dict[str, str]]


class RefusedError(SacvitError):
    """The server refused a request, with a sentence."""


def bodies() -> Callable[[Random], Body]:
    """Return what makes a path, a body and headers."""
    images, wire = [raw for _, raw in image_files()], request_bytes("int8")

    def tensors(random: Random) -> tuple[bytes, dict[str, str]]:
        kind = random.randrange(3)
        if kind == 0:
            return written(forged(json.loads(infer_json([random.choice(images)[:300]], eta=0.5)), random)), {}
        raw = random.choice(images)
        if kind == 1:
            body, headers = infer_binary("BYTES", "image", [1], len(raw).to_bytes(4, "little") + raw)
        else:
            shape = [random.choice((0, 1, 2, 2**50)) for _ in range(3)] + [3]
            body, headers = infer_binary("UINT8", "pictures", shape, bytes(random.choice((0, 3, 12, 24))))
        return damaged(body, random) if random.random() < 0.7 else body, headers

    def make(random: Random) -> Body:
        kind = random.randrange(4)
        if kind == 0:
            query = random.choice(("", "?eta=0.5", "?eta=1e999", "?alpha=-1", "?topk=1e9", "?eta=%00", "?url=x"))
            return f"/predict{query}", damaged(random.choice(images), random), {}
        if kind == 1:
            body, headers = form([(f"{at}.jpg", random.choice(images)) for at in range(random.choice((0, 1, 3)))])
            if random.random() < 0.2:
                headers["Content-Type"] = random.choice(("multipart/form-data", "multipart/x; boundary=", "Multipart/"))
            return "/predict", damaged(body, random), headers
        if kind == 2:
            body, headers = tensors(random)
            if headers and random.random() < 0.3:
                headers["Inference-Header-Content-Length"] = random.choice(("-1", "0", "9" * 30, "x", "1"))
            return "/v2/models/model/infer", body, headers
        return "/stage2", mutated(wire, random)[0] + random.choice((b"", random.choice(wire))), {}

    return make


@contextmanager
def bodies_over_http() -> Iterator[Subject]:
    """Start a server; every case must get an answer or a refusal in JSON, and good requests the same answer always."""
    with serving("--precision", "int8", bundle=record.BEFORE) as server:
        made, good = bodies(), record.TINY_IMAGES[0].read_bytes()
        first = plain(server.ask("POST", "/predict", good).json())
        connection = [server.connect()]
        count = [0]

        def make(random: Random) -> Case:
            path, body, headers = made(random)
            return Case(lambda: check(server, connection, path, body, headers))

        def counted(random: Random) -> Case:
            count[0] += 1
            if count[0] % EVERY == 0 and plain(server.ask("POST", "/predict", good).json()) != first:
                raise AssertionError("a good request is answered otherwise")
            return make(random)

        yield counted
        connection[0].close()
        assert server.stop() == 0


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without its times."""
    return {name: value for name, value in answer.items() if name != "timing_ms"}


def check(
    server: Running, connection: list[http.client.HTTPConnection], path: str, body: bytes, headers: dict[str, str]
) -> None:
    """Send a body. Raises RefusedError for a refusal, AcceptedError for what is neither answer nor refusal."""
    try:
        reply = ask(connection[0], "POST", path, body, headers)
    except (ConnectionError, http.client.HTTPException):  # it was closed after the last refusal
        connection[0].close()
        connection[0] = server.connect()
        reply = ask(connection[0], "POST", path, body, headers)
    answer = reply.json()
    if reply.status in REFUSALS:
        if len(answer["error"].splitlines()) != 1:
            raise AcceptedError(f"{path}: {answer['error'][:200]!r}")
        raise RefusedError(answer["error"][:500])
    if reply.status != 200:
        raise AcceptedError(f"{path}: {reply.status} {answer}")
    told = answer.get("results", [])
    if any(one.get("kind", "RequestError") not in ("RequestError", "OutputError") for one in told):
        raise AcceptedError(f"{path}: {answer}")
