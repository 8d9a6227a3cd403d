"""The plain DeiT with its tensors on a device: on the CPU, and in a bench on a GPU in software."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.benchmarks.plain_device import PlainOnDevice, plain_files, plain_pool
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.confidence import softmax
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.item import Item
from tests import software_gpu
from tests.data import record

from .conftest import run


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_answers_as_the_engine_does(precision: str) -> None:
    bundle = open_bundle(record.BEFORE)
    config, files = bundle.manifest.config, bundle.held_files(precision)
    backend = OnnxRuntimeBackend("cpu", 1)
    given = plain_files(backend, files["deit"], files["weights"], config, precision, 4)
    contender = PlainOnDevice(plain_pool(OnnxRuntimeDevice(backend.sessions, given), config))
    side = config.geometry.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (7, side, side, 3), dtype=np.uint8)
    items = [Item(str(number), picture) for number, picture in enumerate(pictures)]
    found = list(contender.answers((items[at : at + 4] for at in (0, 4)), 4))
    view = full_view(list(pictures), config.preprocessing)
    expected = softmax(backend.open(files["deit"], files["weights"]).run({"image": view})["logits"])
    np.testing.assert_allclose([answer.probabilities for answer in found], expected, atol=1e-6)
    assert [answer.item for answer in found] == items
    assert {step for item in items for step in item.timing} == {"view", "engine", "answer"}


@pytest.mark.slow
@pytest.mark.skipif(bool(software_gpu.why_not()), reason=software_gpu.why_not() or "-")
def test_a_bench_on_a_gpu_in_software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precisions it has no shaders for are left out; the DeiT's tensors stay on the device; the times are marked."""
    for name, value in software_gpu.environment().items():
        monkeypatch.setenv(name, value)
    record.export(record.TINY, tmp_path / "small.sacvit", "--fp16")
    printed = run(
        tmp_path / "small.sacvit", "--device", "webgpu", "--pictures", 4, "--batch", "2", "--continue", "0.5",
        "--against", "deit", "--rounds", 1, "--processes", 0, "--out", tmp_path / "out",
    )  # fmt: skip
    data = json.loads((tmp_path / "out/bench.json").read_text())
    assert [(row["name"], row["batch"]) for row in data["rows"]] == [
        (name, 2) for name in ("cascade 50% fp32", "deit fp32")
    ]
    for row in data["rows"]:
        steps = {"view", "engine", "answer"} if row["contender"] == "deit" else {"view", "ee", "gate", "gather", "sac"}
        assert steps <= set(row["steps_ms"])
        assert row["continued"] == (0.5 if row["contender"] == "cascade" else None)
    assert "a software device" in data["runtime"]
    assert any("the times of a software device" in note for note in data["notes"])
    assert "the times of a software device" in printed
