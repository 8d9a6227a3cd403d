"""Every way into the server gives SACViT's answers, for the 40 example pictures; and errors in their places."""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy import Prediction, SACViT, StageOne, StageTwoRequest
from sacvit_deploy.confidence import softmax
from tests.servers import BUNDLE, MISSING, REASON, ROOT, Running, ask, form, infer_binary, infer_json, serving
from tests.soak.answers import TOLERANCE

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
PICTURES = sorted((ROOT / "examples/pictures").iterdir())
BAD = b"no picture"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def expected() -> list[Prediction]:
    model = SACViT(BUNDLE, threads=1)
    return [model.predict(path) for path in PICTURES]


def assert_same(found: dict[str, Any], prediction: Prediction) -> None:
    """Compare an answer of JSON; other batches move the last digits of a probability."""
    targets = None if prediction.targets is None else prediction.targets.tolist()
    told = [found[name] for name in ("label", "index", "stage", "targets")]
    assert told == [prediction.label, prediction.index, prediction.stage, targets]
    assert abs(found["probability"] - prediction.probability) <= TOLERANCE
    assert abs(found["stage_one_probability"] - prediction.stage_one_probability) <= TOLERANCE


def test_raw_bytes_from_many_connections(server: Running, expected: list[Prediction]) -> None:
    def answers(part: int) -> list[tuple[int, dict[str, Any]]]:
        connection, found = server.connect(), []
        for at in range(part, len(PICTURES), 8):
            reply = ask(connection, "POST", f"/predict?source={at}", PICTURES[at].read_bytes())
            assert reply.status == 200
            found.append((at, reply.json()))
        connection.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        found = dict(pair for part in pool.map(answers, range(8)) for pair in part)
    for at, prediction in enumerate(expected):
        assert_same(found[at], prediction)
        assert found[at]["source"] == str(at)
        assert set(found[at]) == {*prediction.to_dict(), "eta", "alpha"}


def test_a_form_with_errors_in_their_places(server: Running, expected: list[Prediction]) -> None:
    files = [(path.name, path.read_bytes()) for path in PICTURES]
    body, headers = form([*files[:20], ("bad.jpg", BAD), *files[20:], ("empty.png", b"")])
    reply = server.ask("POST", "/predict?topk=3", body, headers)
    assert reply.status == 200
    results = reply.json()["results"]
    assert [set(results.pop(at)) for at in (41, 20)] == [{"source", "error"}] * 2
    for found, path, prediction in zip(results, PICTURES, expected, strict=True):
        assert_same(found, prediction)
        assert found["source"] == path.name
        assert [one["label"] for one in found["topk"]] == [label for label, _ in prediction.topk(3)]


def test_kserve_infer_as_json(server: Running, expected: list[Prediction]) -> None:
    images = [*(path.read_bytes() for path in PICTURES[:20]), BAD, *(path.read_bytes() for path in PICTURES[20:])]
    reply = server.ask("POST", "/v2/models/model/infer", infer_json(images))
    assert reply.status == 200
    answer = reply.json()
    assert (answer["model_name"], answer["id"]) == ("model", "7")
    check_outputs(answer, expected, bad=20)


def test_kserve_infer_with_binary_tensors(server: Running, expected: list[Prediction]) -> None:
    images = [*(path.read_bytes() for path in PICTURES), BAD]
    raw = b"".join(struct.pack("<I", len(image)) + image for image in images)
    body, headers = infer_binary("BYTES", "image", [len(images)], raw)
    reply = server.ask("POST", "/v2/models/model/infer", body, headers)
    check_outputs(reply.json(), expected, bad=40)


def check_outputs(answer: dict[str, Any], expected: list[Prediction], bad: int) -> None:
    """Compare an infer response's tensors, one row of which is an image that could not be read."""
    tensors = {output["name"]: output for output in answer["outputs"]}
    count = tensors["targets"]["shape"][1]
    rows = [tensors["targets"]["data"][at * count : (at + 1) * count] for at in range(len(expected) + 1)]
    assert tensors["error"]["data"].pop(bad) and tensors["index"]["data"].pop(bad) == -1
    assert set(rows.pop(bad)) == {-1} and set(tensors["error"]["data"]) == {""}
    for name in ("label", "probability", "stage", "stage_one_probability"):
        tensors[name]["data"].pop(bad)
    for at, prediction in enumerate(expected):
        row = {name: tensor["data"][at] for name, tensor in tensors.items() if name not in ("targets", "error")}
        row["targets"] = None if prediction.stage == 1 and set(rows[at]) == {-1} else rows[at]
        assert_same(row, prediction)


def test_kserve_infer_with_pixels(server: Running) -> None:
    images = np.stack([np.asarray(Image.open(path).convert("RGB").resize((240, 230))) for path in PICTURES[:6]])
    body, headers = infer_binary("UINT8", "pictures", images.shape, images.tobytes())
    answer = server.ask("POST", "/v2/models/model/infer", body, headers).json()
    labels = next(output["data"] for output in answer["outputs"] if output["name"] == "label")
    model = SACViT(BUNDLE, threads=1)
    assert labels == [model.predict(image).label for image in images]
    tensor = {"name": "pictures", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
    reply = server.ask(
        "POST",
        "/v2/models/model/infer",
        json.dumps({"inputs": [tensor], "outputs": [{"name": "index"}], "parameters": {"eta": "1"}}).encode(),
    )
    grey = np.full((8, 8, 3), 7, np.uint8)
    assert [output["data"] for output in reply.json()["outputs"]] == [[model.predict(grey, eta=1.0).index]]


def test_requests_to_stage_2(server: Running, expected: list[Prediction]) -> None:
    one = StageOne(BUNDLE, threads=1)
    facts = server.ask("GET", "/stage2").json()
    assert facts == {"variant": one.variant, "format": 1}
    results = one.predict_batch(PICTURES)
    requests = [result for result in results if isinstance(result, StageTwoRequest)]
    spoilt = bytearray(requests[0].to_bytes())
    spoilt[-1] ^= 1
    reply = server.ask("POST", "/stage2", b"".join([spoilt, *(request.to_bytes() for request in requests)]))
    assert reply.status == 200
    answers = reply.json()["results"]
    assert answers.pop(0)["kind"] == "RequestError"
    continuing = [prediction for prediction in expected if prediction.stage == 2]
    for found, prediction in zip(answers, continuing, strict=True):
        assert_same(found, prediction)
        logits = np.frombuffer(base64.b64decode(found["logits"]), "<f4")
        np.testing.assert_allclose(softmax(logits), prediction.probabilities, atol=TOLERANCE)


def test_a_request_of_another_bundle_gets_no_answer(server: Running) -> None:
    other = StageOne(ROOT / "tests/data/before", precision="fp32", threads=1)
    request = other.predict_batch(PICTURES[:1], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    (answer,) = server.ask("POST", "/stage2", request.to_bytes()).json()["results"]
    assert answer["kind"] == "RequestError" and "another bundle" in answer["error"]


def test_a_name_that_is_no_text_comes_back(server: Running) -> None:
    request = StageOne(BUNDLE, threads=1).predict_batch(PICTURES[:1], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    named = dataclasses.replace(request, source="gro\udcdf.jpg")
    (answer,) = server.ask("POST", "/stage2", named.to_bytes()).json()["results"]
    assert answer["source"] == "gro\udcdf.jpg"


def test_no_pickle_is_taken(server: Running, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    for path in ("/predict", "/stage2", "/v2/models/model/infer"):
        assert server.ask("POST", path, pickle.dumps(Evil())).status == 400
    body, headers = form([("x", pickle.dumps(Evil()))])
    assert "error" in server.ask("POST", "/predict", body, headers).json()["results"][0]
    assert not (tmp_path / "ran").exists()


def test_eta_and_alpha_are_the_requests(server: Running) -> None:
    model, raw = SACViT(BUNDLE, threads=1), PICTURES[1].read_bytes()
    for eta, alpha in ((0.0, 0.5), (1.0, 0.5), (1.0, 0.2)):
        found = server.ask("POST", f"/predict?eta={eta}&alpha={alpha}", raw).json()
        assert_same(found, model.predict(raw, eta=eta, alpha=alpha))
        assert (found["eta"], found["alpha"]) == (eta, alpha)
    reply = server.ask("POST", "/v2/models/model/infer", infer_json([raw], eta=1.0, alpha=0.2))
    (shape,) = (output["shape"] for output in reply.json()["outputs"] if output["name"] == "targets")
    assert shape == [1, model.config.num_targets(0.2)]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/predict", BAD, 400, "not an image"),
        ("/predict", b"", 400, "is empty"),
        ("/predict?eta=2", BAD, 400, "between 0 and 1"),
        ("/predict?eta=much", BAD, 400, "must be a number"),
        ("/predict?alpha=nan", BAD, 400, "alpha"),
        ("/predict?topk=0", BAD, 400, "at least 1"),
        ("/predict?url=http://127.0.0.1/x.jpg", BAD, 403, "--allow-url"),
        ("/stage2", BAD, 400, "no request to stage 2"),
        ("/v2/models/other/infer", b"{}", 404, "'other'"),
        ("/v2/models/model/infer", b"{", 400, "can't be read"),
        ("/v2/models/model/infer", b"[]", 400, "an object"),
        ("/v2/models/model/infer", b'{"inputs": []}', 400, "give one"),
        ("/nothing", b"", 404, "/docs"),
    ],
)
def test_wrong_requests_get_one_sentence(server: Running, path: str, body: bytes, status: int, words: str) -> None:
    reply = server.ask("POST", path, body)
    assert reply.status == status, reply.body
    assert words in reply.json()["error"]
    assert len(reply.json()["error"].splitlines()) == 1


def test_health_metadata_and_metrics(server: Running) -> None:
    before = samples(server)
    server.ask("POST", "/predict?eta=0", PICTURES[0].read_bytes())
    server.ask("POST", "/predict?eta=1", PICTURES[0].read_bytes())
    server.ask("POST", "/predict", BAD)
    server.ask("POST", "/predict?eta=7", BAD)
    after = samples(server)
    for name, more in (
        ('sacvit_images_total{outcome="exit"}', 1),
        ('sacvit_images_total{outcome="continue"}', 1),
        ('sacvit_images_total{outcome="error"}', 1),
        ('sacvit_stage_seconds_count{stage="ee"}', 2),
        ('sacvit_stage_seconds_count{stage="sac"}', 1),
        ('sacvit_batch_images_sum{stage="ee"}', 2),
        ('sacvit_refused_total{status="400"}', 1),
    ):
        assert after[name] - before.get(name, 0) == more, name
    assert after["sacvit_queue_images"] == 0
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/model", "/v2/models/model/ready"):
        assert server.ask("GET", path).status == 200
    assert server.ask("GET", "/v2/models/other/ready").status == 404


def samples(server: Running) -> dict[str, float]:
    """Return the metrics by name and labels."""
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_the_page_loads_nothing_from_elsewhere(server: Running) -> None:
    page = server.ask("GET", "/docs").body.decode()
    described = server.ask("GET", "/openapi.json").json()
    assert {"/predict", "/stage2", "/metrics", "/v2/models/{name}/infer"} <= set(described["paths"])
    assert all(path in page for path in described["paths"])
    assert "<script" not in page and "src=" not in page and "//cdn" not in page
