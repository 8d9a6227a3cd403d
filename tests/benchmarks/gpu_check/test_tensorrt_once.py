"""TensorRT's step: what is missing is a reason; the plain DeiT's view is a network it can build."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.backends.tensorrt.library import load_library
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.tensorrt_once import measure_rtx, measure_tensorrt, onnx_files
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.device.cuda import find_gpu
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
    for step in (measure_rtx, measure_tensorrt):
        with pytest.raises(BackendError, match="CUDA|can't be loaded"):
            list(step(settings))


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_plain_deits_view_is_built(settings: Settings, precision: str, tmp_path: Path) -> None:
    bundle = open_bundle(settings.speed)
    files = onnx_files(bundle, precision, tmp_path)
    ranges = [input_ranges("view", bundle.manifest.config, sizes) for sizes in batch_ranges(SizeRange(1, 4, 4))]
    plan = build_plan(load_library("tensorrt-rtx"), files["whole"], ranges, BuildOptions(("8.6",)))
    assert len(plan) > 1000
    assert np.frombuffer(plan, np.uint8).any()
