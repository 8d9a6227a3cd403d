"""Ranges and sensitivities of a calibration, and the key that tells when they can be used again."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.calibration.cache import CalibrationResult
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.int8 import CalibrationSettings, cache_key, find_ranges
from sacvit_deploy.calibration.ranges import channel_maxima
from sacvit_deploy.calibration.sensitivity import layer_sensitivity
from sacvit_deploy.calibration.smooth import fold
from sacvit_deploy.console.progress import Progress

from .making import ROLES, plant_outliers

SETTINGS = CalibrationSettings(eta=0.6, alphas=(0.5,), ranges="minmax", smoothing=0.5)


@pytest.fixture(scope="module")
def planted(fp32: Mapping[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    """The fp32 engines with outlier channels."""
    return {role: plant_outliers(fp32[role], 50) for role in ROLES}


@pytest.fixture(scope="module")
def result(planted: dict[str, onnx.ModelProto], calibration: CalibrationInputs) -> CalibrationResult:
    """Calibration of the planted engines."""
    return find_ranges(planted, calibration, SETTINGS, "a key", 1, Progress(io.StringIO()))


@pytest.mark.parametrize("role", ROLES)
def test_ranges_are_those_of_the_smoothed_engine(
    planted: dict[str, onnx.ModelProto], calibration: CalibrationInputs, result: CalibrationResult, role: str
) -> None:
    maxima = channel_maxima(fold(planted[role], result.smoothing), calibration.batches(role), 1)
    assert result.ranges[role] == pytest.approx({layer: value.max() for layer, value in maxima.items()}, rel=1e-4)
    rough = channel_maxima(planted[role], calibration.batches(role), 1)
    assert all(result.ranges[role][layer] < 0.5 * rough[layer].max() for layer in result.smoothing if layer in rough)


def test_sensitivity_is_the_larger_of_both_stages(
    planted: dict[str, onnx.ModelProto], calibration: CalibrationInputs, result: CalibrationResult
) -> None:
    few = calibration.part(16)
    expected: dict[str, float] = {}
    for role in ("ee", "sac"):
        model = fold(planted[role], result.smoothing)
        for layer, value in layer_sensitivity(model, result.ranges[role], few.batches(role), 1).items():
            expected[layer] = max(expected.get(layer, 0), value)
    assert result.sensitivity == pytest.approx(expected, rel=1e-3)


def test_a_key_for_all_that_decides_the_ranges(
    tiny_bundle: Path, bundle_copy: Path, calibration: CalibrationInputs
) -> None:
    def key(bundle: Path = tiny_bundle, inputs: CalibrationInputs = calibration, **settings: Any) -> str:
        files = {role: bundle / entry.path for role, entry in open_bundle(bundle).variant("fp32").files.items()}
        return cache_key(files, inputs, dataclasses.replace(SETTINGS, **settings))

    assert key() == key(bundle_copy) and len(key()) == 64  # the place does not matter
    weights = bytearray((bundle_copy / "weights.fp32.bin").read_bytes())
    weights[1000] ^= 1
    (bundle_copy / "weights.fp32.bin").write_bytes(weights)
    keys = [
        key(),
        key(bundle_copy),
        key(inputs=dataclasses.replace(calibration, digest="0" * 64)),
        key(eta=0.5),
        key(alphas=(0.4, 0.5)),
        key(ranges="entropy"),
        key(smoothing=0.4),
    ]
    assert len(set(keys)) == len(keys)


def test_calibrating_again_finds_the_same(
    planted: dict[str, onnx.ModelProto], calibration: CalibrationInputs, result: CalibrationResult
) -> None:
    again = find_ranges(planted, calibration, SETTINGS, "a key", 1, Progress(io.StringIO()))
    assert again.ranges == result.ranges and again.sensitivity == pytest.approx(result.sensitivity)
    assert all(np.array_equal(again.smoothing[layer], result.smoothing[layer]) for layer in result.smoothing)
