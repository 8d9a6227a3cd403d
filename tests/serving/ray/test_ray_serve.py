"""Ray Serve: both stages as deployments behind a router, over HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import Prediction, SACViT, StageTwoRequest
from tests.data import record

WHY = "NOT TESTED: Ray; `make test-serving` installs it"
serve: Any = pytest.importorskip("ray.serve", reason=WHY)

from sacvit_deploy.benchmarks.load.local_ray import kill_one, processes  # noqa: E402
from sacvit_deploy.benchmarks.load.ports import free_ports  # noqa: E402
from sacvit_deploy.benchmarks.load.ray_example import ray_example  # noqa: E402
from sacvit_deploy.ray.deployments import Call, StageOneReplica, application  # noqa: E402

pytestmark = [pytest.mark.serving, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
BUNDLE = record.ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((record.ROOT / "examples/pictures").iterdir())
LIMIT = 120.0  # seconds for one answer on a loaded machine


@pytest.fixture(scope="module")
def whole() -> SACViT:
    return SACViT(BUNDLE, precision="int8", backend="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def port(ray_cluster: str) -> Iterator[int]:
    """The port of examples/ray_serve.py, one replica of each stage."""
    replicas = ("--cpus", "0.5", "--stage-one", "1", "--stage-two", "1")
    with ray_example(ray_cluster, free_ports(1)[0], str(BUNDLE), "--precision", "int8", *replicas) as server:
        yield server.port


def post(port: int, body: bytes, query: str = "") -> tuple[int, dict[str, Any]]:
    """Send an image, and return status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("POST", f"/{query}", body)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data.startswith(b"{") else {"error": data.decode()}
    finally:
        connection.close()


def assert_same(found: tuple[int, dict[str, Any]], expected: object) -> None:
    """Compare an answer with SACViT's."""
    assert isinstance(expected, Prediction)
    status, answer = found
    assert status == 200, answer
    assert (answer["label"], answer["stage"]) == (expected.label, expected.stage)
    assert answer["targets"] == (None if expected.targets is None else expected.targets.tolist())
    assert answer["probability"] == pytest.approx(expected.probability, abs=1e-5)


@pytest.mark.parametrize(("query", "gate"), [("", {}), ("?eta=1&alpha=0.3", {"eta": 1.0, "alpha": 0.3})])
def test_the_answers_are_the_models(query: str, gate: dict[str, float], port: int, whole: SACViT) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: post(port, path.read_bytes(), query), PICTURES))
    for answer, expected in zip(answers, whole.predict_batch(PICTURES, **gate), strict=True):  # type: ignore[arg-type]
        assert_same(answer, expected)


def test_bad_images_and_gates_cost_the_others_nothing(port: int, whole: SACViT) -> None:
    good = PICTURES[0].read_bytes()
    asked = [(b"no picture", "?name=x.jpg"), (good, "?eta=7"), (good, "?alpha=much"), (good, ""), (b"", "")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: post(port, *each), asked))
    assert [status for status, _ in answers] == [400, 400, 400, 200, 400]
    assert "x.jpg" in answers[0][1]["error"] and "eta is 7.0" in answers[1][1]["error"]
    assert_same(answers[3], whole.predict(good))


def test_a_load_of_good_and_bad_images(port: int, whole: SACViT) -> None:
    """No answer is lost or swapped: every image comes with an eta of its own choice among three."""
    etas = (0.3, 0.6, 1.0)
    known = {eta: whole.predict_batch(PICTURES, eta=eta) for eta in etas}

    def ask(number: int) -> tuple[int, dict[str, Any]]:
        if number % 7 == 3:
            return post(port, b"no picture", f"?name=bad-{number}")
        return post(port, PICTURES[number % 40].read_bytes(), f"?eta={etas[number % 3]}&name={number}")

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(150)))
    for number, (status, answer) in enumerate(answers):
        if number % 7 == 3:
            assert status == 400 and f"bad-{number} " in answer["error"]
        else:
            assert_same((status, answer), known[etas[number % 3]][number % 40])
            assert answer["source"] == str(number)


def test_a_replica_killed_in_the_middle(port: int, whole: SACViT) -> None:
    """Every request gets one answer, the right one, or a 503; then another replica is there."""
    known = dict(zip(PICTURES, whole.predict_batch(PICTURES, eta=1.0), strict=True))
    paths = [PICTURES[number % 40] for number in range(80)]
    before = processes("StageTwoReplica")

    def ask(number: int) -> tuple[int, dict[str, Any]]:
        if number == 40:
            kill_one("StageTwoReplica")
        return post(port, paths[number].read_bytes(), "?eta=1")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(len(paths))))
    for path, answer in zip(paths, answers, strict=True):
        if answer[0] != 503:
            assert_same(answer, known[path])
    limit = time.monotonic() + LIMIT
    while (last := post(port, Path(paths[0]).read_bytes(), "?eta=1"))[0] != 200 and time.monotonic() < limit:
        time.sleep(0.5)
    assert_same(last, known[paths[0]])
    assert before and not set(before) & set(processes("StageTwoReplica"))


def test_a_full_queue_is_refused(port: int) -> None:
    """The last test on it, as it replaces the application: what can't wait gets a 503, and nothing is lost.

    With batches of one image 16 are in the router's work and 8 may wait for it, 8 for the one that stage 1 has in work.
    """
    half = {"ray_actor_options": {"num_cpus": 0.5}}
    narrow = {**half, "max_ongoing_requests": 1}
    deployed = application(
        BUNDLE, stage_one=narrow, stage_two=half, router={"ray_actor_options": {"num_cpus": 0}},
        batch=1, delay=0, threads=1, precision="int8", backend="onnxruntime",
    )  # fmt: skip
    serve.delete("sacvit")
    serve.run(deployed, name="narrow", route_prefix="/")
    body = PICTURES[0].read_bytes()
    with ThreadPoolExecutor(48) as pool:
        statuses = [status for status, _ in pool.map(lambda _: post(port, body), range(96))]
    assert set(statuses) == {200, 503}
    assert post(port, body)[0] == 200


def test_names_that_no_request_can_carry_cost_nobody_an_answer() -> None:
    image = PICTURES[0].read_bytes()
    names: list[Any] = ["good", None, 3, "\ud800", "gro\udcdf"]
    replica = StageOneReplica(str(BUNDLE), {"precision": "int8", "threads": 1})
    raws = replica._answer([Call(name, image, 1.0) for name in names])
    found = [StageTwoRequest.from_bytes(raw).source for raw in raws if isinstance(raw, bytes)]
    assert found == ["good", "None", "3", "\\ud800", "gro\udcdf"]
