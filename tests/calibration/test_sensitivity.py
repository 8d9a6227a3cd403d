"""One session that quantises any layer by a switch, against the real int8 engines; and the measure of sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import channel_maxima, tensor_ranges
from sacvit_deploy.calibration.sensitivity import SWITCH, answer_divergence, layer_sensitivity, switched
from sacvit_deploy.confidence import softmax

from .making import run

STAGES = ("ee", "sac")
Ranges = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def ranges(fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs) -> Ranges:
    """Ranges that are a little too small, so that rounding and clipping both show."""
    ranges = {}
    for role in STAGES:
        maxima = channel_maxima(fp32[role], calibration.batches(role), 1)
        tops = tensor_ranges(fp32[role], calibration.batches(role), "minmax", maxima, 1)
        ranges[role] = {layer: 0.6 * top for layer, top in tops.items()}
    return ranges


def first_feed(calibration: CalibrationInputs, role: str) -> dict[str, Any]:
    return next(iter(calibration.batches(role)))


@pytest.mark.parametrize("role", STAGES)
def test_all_switches_off_is_fp32(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, calibration: CalibrationInputs, role: str
) -> None:
    model, feed = switched(fp32[role], ranges[role]), first_feed(calibration, role)
    onnx.checker.check_model(model, full_check=True)
    off = np.zeros(len(linears(fp32[role])), np.float32)
    expected, outputs = run(fp32[role], feed), run(model, {**feed, SWITCH: off})
    for name, value in expected.items():
        # On other processors a matrix that is computed may be multiplied in another order than a constant one.
        np.testing.assert_allclose(outputs[name], value, rtol=0, atol=1e-6 * np.abs(value).max())


@pytest.mark.parametrize("role", STAGES)
def test_a_switch_does_what_int8_does_to_that_layer(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, calibration: CalibrationInputs, role: str
) -> None:
    model, feed = switched(fp32[role], ranges[role]), first_feed(calibration, role)
    expected = run(fp32[role], feed)["logits"]
    layers = [linear.layer for linear in linears(fp32[role])]
    for number, layer in enumerate(layers):
        alone = np.eye(len(layers), dtype=np.float32)[number]
        logits = run(model, {**feed, SWITCH: alone})["logits"]
        real = run(quantise(fp32[role], ranges[role], [name for name in layers if name != layer]), feed)["logits"]
        moved = np.abs(real - expected).max()
        assert moved > 0 and np.abs(logits - real).max() < 0.05 * moved + 1e-5 * np.abs(expected).max(), layer
    every = run(model, {**feed, SWITCH: np.ones(len(layers), np.float32)})["logits"]
    real = run(quantise(fp32[role], ranges[role]), feed)["logits"]
    assert np.abs(every - real).max() < 0.1 * np.abs(real - expected).max()


def test_sensitivity_is_the_divergence_of_each_layer_alone(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, calibration: CalibrationInputs
) -> None:
    sensitivity = layer_sensitivity(fp32["sac"], ranges["sac"], calibration.batches("sac"), 1)
    layers = [linear.layer for linear in linears(fp32["sac"])]
    assert list(sensitivity) == layers and all(value > 0 for value in sensitivity.values())
    worst = max(sensitivity, key=lambda layer: sensitivity[layer])
    values: list[float] = []
    for feed in calibration.batches("sac"):
        real = quantise(fp32["sac"], ranges["sac"], [layer for layer in layers if layer != worst])
        pair = [softmax(run(model, feed)["logits"]) for model in (fp32["sac"], real)]
        values += answer_divergence(pair[0], pair[1]).tolist()
    assert sensitivity[worst] == pytest.approx(np.mean(values), rel=0.05)


def test_a_layer_with_a_useless_range_is_the_most_sensitive(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, calibration: CalibrationInputs
) -> None:
    for layer in ("patch_embed.proj", "blocks.1.mlp.fc1"):
        before = layer_sensitivity(fp32["ee"], ranges["ee"], calibration.part(16).batches("ee"), 1)
        useless = {**ranges["ee"], layer: ranges["ee"][layer] * 100}
        sensitivity = layer_sensitivity(fp32["ee"], useless, calibration.part(16).batches("ee"), 1)
        assert max(sensitivity, key=lambda name: sensitivity[name]) == layer and sensitivity[layer] > 10 * before[layer]
        assert {name: value for name, value in sensitivity.items() if name != layer} == pytest.approx(
            {name: value for name, value in before.items() if name != layer}
        )


def probabilities(classes: int = 5) -> st.SearchStrategy[Any]:
    """Generate softmax outputs [B,C], saturated ones among them."""
    row = st.lists(st.floats(-800, 800), min_size=classes, max_size=classes)
    return st.lists(row, min_size=3, max_size=3).map(lambda rows: softmax(np.array(rows)))


@given(probabilities(), probabilities())
def test_divergence(reference: Any, other: Any) -> None:
    value = answer_divergence(reference, other)
    assert value.shape == (3,) and np.isfinite(value).all() and (value >= -1e-12).all()
    assert np.abs(answer_divergence(reference, reference)).max() == 0
    # Pinsker: it is at least half the square of the distance.
    assert (value >= 0.5 * np.abs(reference - other).sum(axis=1) ** 2 - 1e-9).all()
    order = [3, 0, 4, 1, 2]
    assert answer_divergence(reference[:, order], other[:, order]) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert answer_divergence(reference[::-1], other[::-1]) == pytest.approx(value[::-1])


def test_divergence_of_known_distributions() -> None:
    half, sure = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    assert answer_divergence(sure, half) == pytest.approx(np.log(2))
    assert answer_divergence(half, np.array([[0.25, 0.75]])) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert 100 < answer_divergence(half, sure)[0] < 1000  # infinite, but for the smallest number there is
