"""The device path on a GPU interface that is really one: WebGPU, on a GPU in software."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy import BackendError, Prediction, SACViT, UsageError
from sacvit_deploy.backends.onnxruntime.capture import CapturedSession
from sacvit_deploy.backends.onnxruntime.values import ValueMemory
from tests import software_gpu
from tests.data import record
from tests.traces import traced, why_no_trace

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples/pictures").iterdir())
pytestmark = pytest.mark.skipif(bool(software_gpu.why_not()), reason=software_gpu.why_not() or "-")


@pytest.fixture(scope="module", autouse=True)
def software() -> Iterator[None]:
    """Let the provider find the software GPU, in this process and in those it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in software_gpu.environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 64 pixels and one block, in fp32 and fp16: a GPU in software takes its time."""
    target = tmp_path_factory.mktemp("small") / "small.sacvit"
    record.export(record.TINY, target, "--fp16")
    return target


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> SACViT:
    return SACViT(small_bundle, device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def gpu(software: None, small_bundle: Path) -> SACViT:
    return SACViT(small_bundle, device="webgpu")


@pytest.fixture(scope="module")
def captured(software: None, small_bundle: Path) -> SACViT:
    return SACViT(small_bundle, device="webgpu", capture=True)


@pytest.fixture(scope="module")
def image_paths() -> list[Path]:
    """Of both kinds, those that exit and those that continue."""
    return record.TINY_IMAGES[:12]


def memory_of(model: SACViT) -> ValueMemory:
    assert model.pool is not None and isinstance(model.pool.device.memory, ValueMemory)
    return model.pool.device.memory


def answers(model: SACViT, sources: list[Path], **options: object) -> list[Prediction]:
    found = list(model.stream(sources, **options))  # type: ignore[arg-type]
    assert all(isinstance(one, Prediction) for one in found)
    return found  # type: ignore[return-value]


def check(found: list[Prediction], expected: list[Prediction]) -> None:
    """The same labels, stages and targets; probabilities but for rounding."""
    for one, other in zip(found, expected, strict=True):
        assert (one.source, one.stage, one.label) == (other.source, other.stage, other.label)
        np.testing.assert_array_equal(one.targets, other.targets)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


@pytest.mark.slow
def test_the_example_model_answers_as_on_the_cpu(tmp_path: Path) -> None:
    """All 40 images, several batches in flight, and the bytes that cross the bus."""
    record.export(record.EXAMPLE, tmp_path / "model.sacvit")
    plain = SACViT(tmp_path / "model.sacvit", precision="fp32", device="cpu")
    gpu = SACViT(tmp_path / "model.sacvit", device="webgpu")
    assert gpu.precision == "fp32"  # the adapter has no fp16 shaders
    found, expected = (answers(model, EXAMPLES, batch_size=8) for model in (gpu, plain))
    check(found, expected)
    continued = sum(one.stage == 2 for one in expected)
    assert 0 < continued < len(EXAMPLES)
    memory, geometry = memory_of(gpu), gpu.config.geometry
    logits, targets = 4 * geometry.classes, 8 * gpu.config.num_targets()
    assert memory.downloaded == len(EXAMPLES) * logits + continued * (logits + targets)
    pictures = len(EXAMPLES) * 3 * geometry.image_size**2
    # Beside the images: which continue, and in what order they wait, in int64.
    assert pictures < memory.uploaded < pictures + 8 * (5 * geometry.tokens + 4 * len(EXAMPLES))


@pytest.mark.parametrize("name", ["gpu", "captured"])
def test_streams_of_any_make(name: str, model: SACViT, image_paths: list[Path], request: pytest.FixtureRequest) -> None:
    """Some, none and all continue; the queue overflows into the next batch; alpha changes between calls."""
    on_gpu: SACViT = request.getfixturevalue(name)
    sources = image_paths * 2
    for batch_size, eta, alpha in ((1, None, None), (4, None, 0.7), (4, 1.0, 0.3), (3, 0.0, None)):
        options = {"batch_size": batch_size, "eta": eta, "alpha": alpha}
        check(answers(on_gpu, sources, **options), answers(model, sources, **options))


def test_recorded_calls_are_replayed(captured: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    check(answers(captured, image_paths, batch_size=4, eta=1.0), answers(model, image_paths, batch_size=4, eta=1.0))
    assert captured.pool is not None
    for role in ("ee", "sac"):
        engine = captured.pool._engine_sets[0].engine(role)
        assert isinstance(engine, CapturedSession)
        assert engine.replayed > 0
        assert engine.rows(3) == 4 and engine.rows(1) == 1


def test_what_cannot_be_recorded_runs_all_the_same(
    small_bundle: Path, model: SACViT, image_paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = SACViT(small_bundle, device="webgpu", capture=True)
    assert stubborn.pool is not None
    for role in ("ee", "sac"):
        engine = stubborn.pool._engine_sets[0].engine(role)
        assert isinstance(engine, CapturedSession)

        def refuse(sizes: object) -> None:
            raise BackendError("no recording here")

        monkeypatch.setattr(engine, "_open_fixed", refuse)
    with pytest.warns(RuntimeWarning, match=r"calls of ee\.fp32\.onnx run unrecorded: no recording here"):
        check(answers(stubborn, image_paths, batch_size=4), answers(model, image_paths, batch_size=4))
    assert engine.replayed == 0


def test_predict_inside_a_stream(gpu: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    """Found by trying: it waited for ever for what the suspended stream held."""
    found, inside = [], []
    for answer in gpu.stream(image_paths, batch_size=2):
        found.append(answer)
        inside.append(gpu.predict(image_paths[0]))
    check(found, answers(model, image_paths, batch_size=2))  # type: ignore[arg-type]
    check(inside, [model.predict(image_paths[0])] * len(inside))


def test_a_stream_left_early_keeps_the_engines(gpu: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    assert gpu.pool is not None
    before = gpu.pool._engine_sets[0].engine("ee")
    stream = gpu.stream(image_paths * 4, batch_size=2)
    next(stream)
    stream.close()
    assert gpu.pool._engine_sets[0].engine("ee") is before
    check(answers(gpu, image_paths, batch_size=2), answers(model, image_paths, batch_size=2))


def test_two_threads(gpu: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    expected = answers(model, image_paths, batch_size=3)
    found: list[list[Prediction]] = []
    threads = [threading.Thread(target=lambda: found.append(answers(gpu, image_paths, batch_size=3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(found) == 2
    for one in found:
        check(one, expected)


def test_its_tensors_are_nobody_elses(gpu: SACViT) -> None:
    with pytest.raises(UsageError, match=r"WebGpu.*: its tensors can't be shared .*; call predict_batch"):
        gpu.predict_tensors(np.zeros((1, 64, 64, 3), np.uint8))


def test_a_download_is_of_its_moment(gpu: SACViT) -> None:
    """Found by trying: the queue had written the next request's targets by the time that somebody waited."""
    memory, values = memory_of(gpu), np.arange(12, dtype=np.float32).reshape(4, 3)
    stream, tensor = memory.stream(), memory.allocate(values.shape, values.dtype)
    found = np.empty_like(values)
    memory.upload(tensor, values, stream)
    memory.download(found, tensor, stream)
    memory.upload(tensor, values + 1, stream)
    memory.synchronize(memory.record_event(stream))
    np.testing.assert_array_equal(found, values)


def test_a_failed_download_fails_for_everybody_behind_it(gpu: SACViT) -> None:
    """Threads that share a stream fetch for each other: what never came must not be taken for an answer."""
    memory = memory_of(gpu)
    stream, tensor = memory.stream(), memory.allocate((2, 3), np.dtype(np.float32))
    memory.download(np.empty((9, 9), np.float32), tensor, stream)  # of another shape
    memory.download(np.empty((2, 3), np.float32), tensor, stream)
    first, event = memory.record_event(stream), memory.record_event(stream)
    for one in (first, event):
        with pytest.raises(BackendError, match="a download failed"):
            memory.synchronize(one)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux' /proc")
@pytest.mark.parametrize("name", ["gpu", "captured"])
def test_memory_and_handles_stay_flat(name: str, image_paths: list[Path], request: pytest.FixtureRequest) -> None:
    on_gpu: SACViT = request.getfixturevalue(name)
    sources = image_paths[:4] * 10  # twenty batches

    def state() -> tuple[float, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))

    answers(on_gpu, sources, batch_size=2)
    before, handles = state()
    answers(on_gpu, sources, batch_size=2)
    after, handles_after = state()
    assert after - before < 20
    assert handles_after <= handles


def test_an_engine_with_arrays_in_and_out(gpu: SACViT, model: SACViT) -> None:
    """What verify, eval and bench use, the plain DeiT's too."""
    image = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    found, expected = (one.cascade.stage_one(image) for one in (gpu, model))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)
    files = gpu.bundle.held_files("fp32")
    whole = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    deits = [one.backend.open(files["deit"], files["weights"]) for one in (gpu, model)]
    first, second = (deit.run({"image": whole})["logits"] for deit in deits)
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.slow
def test_no_socket_and_no_file(small_bundle: Path, image_paths: list[Path], tmp_path: Path) -> None:
    """The provider reports to nobody, and keeps no cache of shaders."""
    if why := why_no_trace(tmp_path):
        pytest.skip(why)
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "sacvit_deploy", "infer", image_paths[0], "--bundle", small_bundle]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    environment |= software_gpu.environment()
    done, loud = traced([*command, "--device", "webgpu"], tmp_path, environment, home)
    assert done.returncode == 0, done.stderr
    assert (loud, list(home.iterdir())) == ([], [])


def test_precisions_it_has_no_shaders_for(small_bundle: Path) -> None:
    with pytest.raises(BackendError, match="can't run fp16: this adapter has no fp16 shaders; take fp32"):
        SACViT(small_bundle, device="webgpu", precision="fp16")
    with pytest.raises(BackendError, match="can't run int8: this provider has no int8 products"):
        SACViT(ROOT / "tests/data/before", device="webgpu", precision="int8")


def test_an_fp32_bundle_that_casts_to_fp16(image_paths: list[Path]) -> None:
    """As the first versions wrote it."""
    before = SACViT(ROOT / "tests/data/before", device="webgpu", precision="fp32")
    with pytest.raises(BackendError, match="no fp16 shaders.*have to be exported again"):
        before.predict(image_paths[0], eta=1.0)


def test_a_device_that_is_not_there(small_bundle: Path) -> None:
    with pytest.raises(BackendError, match="has no device number 7 here; the last one is 0"):
        SACViT(small_bundle, device="webgpu:7")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "sees no device here; it needs a GPU and its driver"),
        ("VK_ICD_FILENAMES", "there is no GPU that a driver offers here"),
    ],
)
def test_no_adapter_is_one_sentence(missing: str, said: str, small_bundle: Path, image_paths: list[Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != missing}
    if Path("/dev/dri").exists():
        pytest.skip("there may be a real GPU here")
    command = [sys.executable, "-m", "sacvit_deploy", "infer", str(image_paths[0]), "--bundle", str(small_bundle)]
    done = subprocess.run(
        [*command, "--device", "webgpu"], env=environment, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and said in last and "Traceback" not in done.stderr
