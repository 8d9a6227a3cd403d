"""The model repository on a real Triton server, its engines in the Python backend: the answers are SACViT's."""

from __future__ import annotations

import io
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sacvit_deploy import Prediction, SACViT, StageOne
from sacvit_deploy.benchmarks.load.processes import kill_first
from sacvit_deploy.benchmarks.load.triton_server import TritonServer, triton_server
from sacvit_deploy.serving.triton.cli_triton import command
from tests.data import record

WHY = "NOT TESTED: Triton, which pytriton's wheel brings; `make test-serving` installs it"
pytest.importorskip("pytriton", reason=WHY)
triton: Any = pytest.importorskip("tritonclient.grpc", reason=WHY)


pytestmark = [pytest.mark.serving, pytest.mark.slow]
BUNDLE = record.ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((record.ROOT / "examples/pictures").iterdir())
LIMIT = 120.0  # seconds for one answer on a loaded machine
PIXELS, MEMORY = 30_000_000, 90  # of an image; MB
QUEUE = 40  # requests that may wait for `sacvit`


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    options = ["--backend", "python", "--precision", "int8", "--delay-sac", "0.02"]
    options += ["--max-pixels", f"{PIXELS}", "--max-memory", f"{MEMORY}", "--max-queue", f"{QUEUE}"]
    done = CliRunner().invoke(command, [str(BUNDLE), "--out", str(folder / "models"), *options])
    assert done.exit_code == 0, done.output
    with triton_server(folder / "models", folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Any:
    return triton.InferenceServerClient(f"127.0.0.1:{server.grpc}")


@pytest.fixture(scope="module")
def whole() -> SACViT:
    return SACViT(BUNDLE, precision="int8", backend="onnxruntime", threads=1)


def encoded(files: Sequence[bytes]) -> Any:
    """Return the input of encoded images."""
    tensor = triton.InferInput("encoded", [len(files), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[file] for file in files], object))
    return tensor


def assert_same(result: Any, expected: Sequence[Prediction]) -> None:
    """Compare every output with SACViT's answers, probabilities to what rounding in other batches does."""
    rows = {name: result.as_numpy(name) for name in ("label", "index", "stage", "targets", "probabilities", "error")}
    assert [label.decode() for label in rows["label"][:, 0]] == [answer.label for answer in expected]
    assert rows["index"][:, 0].tolist() == [answer.index for answer in expected]
    assert rows["stage"][:, 0].tolist() == [answer.stage for answer in expected]
    assert set(rows["error"][:, 0]) == {b""}
    for targets, answer in zip(rows["targets"], expected, strict=True):
        known = [-1] * len(targets) if answer.targets is None else answer.targets.tolist()
        assert targets.tolist() == known
    np.testing.assert_allclose(rows["probabilities"], [answer.probabilities for answer in expected], atol=1e-5)


def test_one_request_for_each_image_and_sac_sees_those_that_continue(client: Any, whole: SACViT) -> None:
    expected = whole.predict_batch(PICTURES)

    def rows_of(model: str) -> int:
        return int(client.get_inference_statistics(model).model_stats[0].inference_count)

    before = {model: rows_of(model) for model in ("ee", "sac")}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda path: client.infer("sacvit", [encoded([path.read_bytes()])], client_timeout=LIMIT), PICTURES
            )
        )
    for result, answer in zip(answers, expected, strict=True):
        assert isinstance(answer, Prediction)
        assert_same(result, [answer])
    assert {model: rows_of(model) - count for model, count in before.items()} == {"ee": 40, "sac": 15}


@pytest.mark.parametrize("gate", [{}, {"eta": 1.0}, {"eta": "0.9", "alpha": 0.3}, {"eta": 0}])
def test_eta_and_alpha_are_parameters_of_the_request(gate: dict[str, Any], client: Any, whole: SACViT) -> None:
    paths = PICTURES[:12]
    result = client.infer(
        "sacvit", [encoded([path.read_bytes() for path in paths])], parameters=gate, client_timeout=LIMIT
    )
    assert_same(result, whole.predict_batch(paths, **{name: float(value) for name, value in gate.items()}))  # type: ignore[arg-type]


def test_fitted_pixels(client: Any, whole: SACViT) -> None:
    one = StageOne(BUNDLE, precision="int8", threads=1)
    pixels = np.stack([one.prepare(path).pixels for path in PICTURES[:5]])  # type: ignore[misc]
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    assert_same(client.infer("sacvit", [tensor], client_timeout=LIMIT), whole.predict_batch(PICTURES[:5]))  # type: ignore[arg-type]


def test_a_bad_image_costs_its_own_row_and_a_bad_request_itself(client: Any, whole: SACViT) -> None:
    good = PICTURES[0].read_bytes()
    result = client.infer("sacvit", [encoded([b"no picture", good])], request_id="mixed", client_timeout=LIMIT)
    assert result.as_numpy("error")[0, 0].startswith(b"mixed[0]") and result.as_numpy("error")[1, 0] == b""
    assert result.as_numpy("stage")[:, 0].tolist() == [0, whole.predict(good).stage]
    for inputs, gate, words in (
        ([encoded([b"no picture"])], {}, r"request\[0\]"),
        ([encoded([good])], {"eta": 7}, "eta is 7.0"),
        ([encoded([good])], {"alpha": "much"}, "alpha is 'much'"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words):
            client.infer("sacvit", inputs, parameters=gate, client_timeout=LIMIT)


def png(mode: str, side: int) -> bytes:
    """Return a black square as a file."""
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def test_an_image_over_the_limits_costs_its_own_row(client: Any, whole: SACViT) -> None:
    """One has too many pixels, the other one fewer, which would take too much memory."""
    good = PICTURES[0].read_bytes()
    files = [png("1", 5500), good, png("RGB", 5000), good]
    result = client.infer("sacvit", [encoded(files)], client_timeout=LIMIT)
    pixels, _, memory, _ = [error.decode() for error in result.as_numpy("error")[:, 0]]
    assert "pixels" in pixels and "30,000,000" in pixels and "MB" in memory and "MB" not in pixels, (pixels, memory)
    assert result.as_numpy("stage")[:, 0].tolist() == [0, whole.predict(good).stage] * 2
    with pytest.raises(triton.InferenceServerException, match="pixels"):
        client.infer("sacvit", [encoded(files[:1])], client_timeout=LIMIT)


def test_more_than_may_wait_is_refused_at_once(client: Any, whole: SACViT) -> None:
    path = PICTURES[0]
    expected = whole.predict(path)
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    count = 400
    for _ in range(count):
        tensors = [encoded([path.read_bytes()])]
        client.async_infer("sacvit", tensors, lambda result, error: done.put(error or result), client_timeout=LIMIT)
    results = [done.get(timeout=LIMIT) for _ in range(count)]
    refused = [result for result in results if isinstance(result, triton.InferenceServerException)]
    assert {error.status() for error in refused} == {"StatusCode.UNAVAILABLE"}
    assert all("maximum queue size" in error.message() for error in refused)
    for result in results:
        if not isinstance(result, triton.InferenceServerException):
            assert_same(result, [expected])
    assert count > len(refused) > 0


def test_a_load_of_good_and_bad_images(client: Any, whole: SACViT) -> None:
    """No answer is lost or swapped: every image comes with an eta of its own choice among three."""
    etas = (0.3, 0.6, 1.0)
    known = {eta: whole.predict_batch(PICTURES, eta=eta) for eta in etas}

    def ask(number: int) -> Any:
        file = b"no picture" if number % 7 == 3 else PICTURES[number % 40].read_bytes()
        gate = {"eta": str(etas[number % 3])}
        try:
            return client.infer(
                "sacvit", [encoded([file])], parameters=gate, request_id=f"{number}", client_timeout=LIMIT
            )
        except triton.InferenceServerException as error:
            return error

    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(ask, range(150)))
    for number, result in enumerate(results):
        if number % 7 == 3:
            assert result.message().startswith(f"{number}[0] is not an image"), result
        else:
            assert_same(result, [known[etas[number % 3]][number % 40]])  # type: ignore[list-item]


def test_the_client_example(server: TritonServer) -> None:
    script = [
        sys.executable,
        str(record.ROOT / "examples/triton_client.py"),
        "--url",
        f"127.0.0.1:{server.grpc}",
        "--eta",
        "1",
    ]
    images = [str(PICTURES[1]), str(record.ROOT / "pyproject.toml")]
    done = subprocess.run([*script, *images], capture_output=True, text=True, timeout=LIMIT)
    first, second = done.stdout.splitlines()
    assert "panda" in first and first.endswith("stage 2"), done.stderr
    assert "pyproject.toml" in second and "%" not in second


def test_a_replica_killed_in_the_middle(client: Any, server: TritonServer, whole: SACViT) -> None:
    """Every request gets one answer or one error. Exits never fail, as they don't need what was killed.

    This Triton starts no Python model again; the last test, therefore.
    """
    paths = [PICTURES[number % 40] for number in range(36)]
    known = dict(zip(PICTURES, whole.predict_batch(PICTURES), strict=True))
    stubs = server.stubs("sac")
    assert len(stubs) == 1

    def ask(number: int) -> Any:
        if number == 12:
            kill_first(stubs, "sac")
        try:
            return client.infer("sacvit", [encoded([paths[number].read_bytes()])], client_timeout=LIMIT)
        except triton.InferenceServerException as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(ask, range(len(paths))))
    failed = []
    for path, result in zip(paths, results, strict=True):
        answer = known[path]
        assert isinstance(answer, Prediction)
        if isinstance(result, triton.InferenceServerException):
            assert answer.stage == 2 and result.status() == "StatusCode.INTERNAL", result
            assert "Triton's model sac failed" in result.message()
            failed.append(path)
        else:
            assert_same(result, [answer])
    assert failed
