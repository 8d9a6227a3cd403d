"""OpenVINO: the same answers as ONNX Runtime, whatever shapes come and from however many threads."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.choose import choose_backend
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.backends.openvino import backend as openvino
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cpu import core_limits
from sacvit_deploy.errors import BackendError
from sacvit_deploy.prediction import Prediction


def engines(bundle: Path, role: str) -> tuple[Engine, Engine]:
    """OpenVINO's and ONNX Runtime's, of the fp32 variant."""
    files = open_bundle(bundle).checked_files("fp32")
    return open_backend("openvino").open(files[role], None), open_backend("onnxruntime").open(files[role], None)


def sac_inputs(batch: int, targets: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "patches": rng.standard_normal((batch, 4 * targets, 768)),
        "positions": rng.permuted(np.tile(np.arange(196), (batch, 1)), axis=1)[:, : 4 * targets],
        "target_features": rng.standard_normal((batch, targets, 64)),
        "background": rng.standard_normal((batch, 49 - targets, 64)),
    }


def assert_same(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    """Equal but for the order of sums; bfloat16, which the library would take where it can, is off by a hundredth."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5 * np.abs(array).max(), err_msg=name)


@pytest.mark.parametrize("batches", [(1, 3, 1), (3, 1, 2)])
def test_stage_one_as_onnx_runtime(tiny_bundle: Path, batches: tuple[int, ...]) -> None:
    ours, theirs = engines(tiny_bundle, "ee")
    for seed, batch in enumerate(batches):
        inputs = {"image": np.random.default_rng(seed).standard_normal((batch, 3, 112, 112))}
        assert_same(ours.run(inputs), theirs.run(inputs))


def test_stage_two_as_onnx_runtime_for_every_shape(tiny_bundle: Path) -> None:
    ours, theirs = engines(tiny_bundle, "sac")
    for seed, (batch, targets) in enumerate([(1, 24), (1, 12), (2, 24), (1, 24), (4, 48), (1, 1), (1, 24)]):
        inputs = sac_inputs(batch, targets, seed)
        assert_same(ours.run(inputs), theirs.run(inputs))


def test_an_answer_stays_when_the_next_call_comes(tiny_bundle: Path) -> None:
    ours, _ = engines(tiny_bundle, "sac")
    first = ours.run(sac_inputs(1, 24, seed=1))["logits"]
    kept = first.copy()
    assert np.abs(ours.run(sac_inputs(1, 24, seed=2))["logits"] - kept).max() > 1e-3
    np.testing.assert_array_equal(first, kept)


def test_inputs_are_left_as_they_were(tiny_bundle: Path) -> None:
    ours, _ = engines(tiny_bundle, "sac")
    inputs = {name: np.ascontiguousarray(a, ours.input_dtype(name)) for name, a in sac_inputs(2, 24).items()}
    before = {name: array.copy() for name, array in inputs.items()}
    ours.run(inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_one_engine_and_many_threads(tiny_bundle: Path) -> None:
    ours, theirs = engines(tiny_bundle, "sac")
    inputs = [sac_inputs(1 + seed % 3, 24, seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ours.run, inputs))
    for one, each in zip(found, inputs, strict=True):
        assert_same(one, theirs.run(each))


def test_whole_cascade(tiny_bundle: Path, image_paths: list[Path], model: SACViT) -> None:
    ours = SACViT(tiny_bundle, backend="openvino", precision="fp32", threads=2)
    found, wanted = list(ours.stream(image_paths, batch_size=3)), list(model.stream(image_paths, batch_size=3))
    for one, other in zip(found, wanted, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        assert (one.stage, one.label) == (other.stage, other.label)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    assert {1, 2} <= {one.stage for one in found if isinstance(one, Prediction)}


@pytest.mark.parametrize("features", [["avx2"], ["avx2", "avx512f"]])
def test_int8_where_byte_products_overflow(tiny_bundle: Path, monkeypatch: Any, features: list[str]) -> None:
    monkeypatch.setattr(openvino, "cpu_features", lambda: features)
    monkeypatch.setattr(openvino.platform, "machine", lambda: "x86_64")
    backend = open_backend("openvino")
    assert backend.precisions(open_bundle(tiny_bundle)) == ["fp32", "fp16"]
    with pytest.raises(BackendError, match=r"without VNNI or AMX; take --precision fp32"):
        backend.files(open_bundle(tiny_bundle), "int8")


@pytest.mark.parametrize(
    ("machine", "features", "narrow"),
    [
        ("x86_64", ["avx2"], True),
        ("AMD64", ["avx512f"], True),
        ("x86_64", ["avx2", "avx_vnni"], False),
        ("x86_64", ["avx2", "amx_int8"], False),
        ("x86_64", [], False),  # the system doesn't tell
        ("aarch64", ["fphp"], False),
    ],
)
def test_where_byte_products_overflow(monkeypatch: Any, machine: str, features: list[str], narrow: bool) -> None:
    monkeypatch.setattr(openvino, "cpu_features", lambda: features)
    monkeypatch.setattr(openvino.platform, "machine", lambda: machine)
    assert openvino.saturates() is narrow


def test_errors_say_what_is_wrong(tiny_bundle: Path, tmp_path: Path) -> None:
    ours, _ = engines(tiny_bundle, "ee")
    with pytest.raises(BackendError, match=r"ee\.fp32\.onnx failed .*\(2\.4\.112\.112\)"):
        ours.run({"image": np.zeros((2, 4, 112, 112))})
    with pytest.raises(BackendError, match="Could not open the file"):
        open_backend("openvino").open(tmp_path / "none.onnx", None)


def test_threads_are_those_it_runs(tiny_bundle: Path) -> None:
    model = SACViT(tiny_bundle, backend="openvino", threads=1_000)
    told = re.search(r", (\d+) threads$", model.backend.description)
    assert told is not None
    assert 1 <= int(told[1]) <= core_limits().affinity  # it knows no OMP_NUM_THREADS


def test_auto_stays_with_onnx_runtime(tiny_bundle: Path) -> None:
    assert choose_backend(open_bundle(tiny_bundle))[0] == "onnxruntime"
