"""TensorRT's step: what is missing is a reason; the plain DeiT's view is a network it can build."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.backends.tensorrt.library import load_library
from sacvit_deploy.benchmarks.gpu_check import tensorrt_once
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.subject import on_device, open_files, open_subject
from sacvit_deploy.benchmarks.gpu_check.tensorrt_once import (
    measure_plans,
    measure_rtx,
    measure_rtx_int8,
    measure_tensorrt,
    measure_tensorrt_int8,
    onnx_files,
)
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.engines.build import BuildOptions, build_plan
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges
from sacvit_deploy.errors import BackendError


def has_gpu() -> bool:
    try:
        find_gpu()
    except BackendError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(settings: Settings) -> None:
    for step in (measure_rtx, measure_tensorrt, measure_rtx_int8, measure_tensorrt_int8):
        with pytest.raises(BackendError, match="CUDA|can't be loaded"):
            list(step(settings))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_plans_are_measured_from_the_product_to_the_engines(
    settings: Settings, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the building, with ONNX Runtime's engines in the place of the plans."""
    monkeypatch.setattr(tensorrt_once, "BATCHES", (3, 1))
    settings = dataclasses.replace(settings, precision=precision, batches=(3,))

    def example() -> Device:
        _, backend, files = open_files(settings.example, settings)
        return on_device(backend, files, settings)

    rows = list(measure_plans(open_subject(settings), settings, example))
    product = [f"cascade 23% {precision}", f"deit {precision}"]
    engines = ["ee", "sac", "view", "gather", "deit", "whole"]
    assert [row["contender"] for row in rows[:4]] == 2 * product
    assert [(row["precision"], row["batch"]) for row in rows[4:8]] == [(precision, batch) for batch in (32, 32, 1, 1)]
    assert [row["engine"] for row in rows[8:]] == 2 * engines
    assert not any({"not run", "why", "why not"} & set(row) for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_plain_deits_view_is_built(settings: Settings, precision: str, tmp_path: Path) -> None:
    bundle = open_bundle(settings.speed)
    files = onnx_files(bundle, precision, tmp_path)
    ranges = [input_ranges("view", bundle.manifest.config, sizes) for sizes in batch_ranges(SizeRange(1, 4, 4))]
    plan = build_plan(load_library("tensorrt-rtx"), files["whole"], ranges, BuildOptions(("8.6",)))
    assert len(plan) > 1000
    assert np.frombuffer(plan, np.uint8).any()
