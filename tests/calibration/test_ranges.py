"""Ranges against a brute-force pass over the real tensors, and inputs that no range can be taken from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.calibration.ranges import RANGES, Maxima, Range, channel_maxima, tensor_ranges
from sacvit_deploy.errors import OutputError

from .making import ROLES, graph, run


@pytest.fixture(scope="module")
def maxima(fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs) -> dict[str, Maxima]:
    """Largest values of the channels, by role."""
    return {role: channel_maxima(fp32[role], calibration.batches(role), 1) for role in ROLES}


def inputs_of_layers(model: onnx.ModelProto, calibration: CalibrationInputs, role: str) -> dict[str, Any]:
    """Collect all inputs [rows,K] of each layer, by layer."""
    inputs: dict[str, list[Any]] = {}
    names = {linear.layer: linear.input for linear in linears(model)}
    for feed in calibration.batches(role):
        values = {**run(model, feed, *set(names.values()) - set(feed)), **feed}
        for layer, name in names.items():
            inputs.setdefault(layer, []).append(values[name].reshape(-1, values[name].shape[-1]))
    return {layer: np.concatenate(parts) for layer, parts in inputs.items()}


@pytest.mark.parametrize("role", ROLES)
def test_ranges_are_those_of_the_real_tensors(
    fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs, maxima: dict[str, Maxima], role: str
) -> None:
    seen = inputs_of_layers(fp32[role], calibration, role)
    assert set(maxima[role]) == set(seen)
    for layer, rows in seen.items():
        np.testing.assert_allclose(maxima[role][layer], np.abs(rows).max(axis=0), rtol=1e-5)
    largest = tensor_ranges(fp32[role], calibration.batches(role), "minmax", maxima[role], 1)
    for layer, rows in seen.items():
        assert largest[layer] == pytest.approx(np.abs(rows).max(), rel=1e-5)
    cut = tensor_ranges(fp32[role], calibration.batches(role), "percentile", maxima[role], 1)
    assert set(cut) == set(largest)
    for layer, rows in seen.items():
        assert 0 < cut[layer] <= largest[layer] * (1 + 1e-6)
        # A bin of the histogram is the finest it can tell, and the largest value is counted once more.
        low, high = np.quantile(np.abs(rows), [0.9999 - 2 / rows.size, min(1, 0.9999 + 2 / rows.size)])
        assert low - largest[layer] / 1000 <= cut[layer] <= high + largest[layer] / 1000


def test_entropy_is_positive_and_within_the_largest(
    fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs, maxima: dict[str, Maxima]
) -> None:
    few = calibration.part(16)
    for role in ("ee", "sac"):
        ranges = tensor_ranges(fp32[role], few.batches(role), "entropy", maxima[role], 1)
        assert set(ranges) == set(maxima[role])
        for layer, top in ranges.items():
            assert 0 < top <= maxima[role][layer].max() * (1 + 1e-6)


def one_layer(width: int = 8) -> onnx.ModelProto:
    """Build a model of a single product, called `layer`."""
    return graph(
        [helper.make_node("MatMul", ["x", "layer.weight.T"], ["logits"])],
        {"layer.weight.T": np.eye(width)},
        width=width,
    )


@pytest.mark.parametrize("method", RANGES)
def test_a_lone_outlier(method: Range) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
    rows[2000, 3] = -100
    batches = [{"x": rows[:1500]}, {"x": rows[1500:]}]
    model = one_layer()
    top = tensor_ranges(model, batches, method, channel_maxima(model, batches, 1), 1)["layer"]
    usual = float(np.abs(rows[:2000]).max())
    assert top == 100 if method == "minmax" else 0.5 * usual < top < 6 * usual


@pytest.mark.parametrize("method", RANGES)
def test_the_order_of_batches_does_not_matter(method: Range) -> None:
    sizes = np.array([1, 3, 0.2], np.float32)[:, None, None]
    rows = np.random.default_rng(1).normal(size=(3, 500, 8)).astype(np.float32) * sizes
    model = one_layer()
    ranges = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        batches = [{"x": rows[at]} for at in order]
        ranges.append(tensor_ranges(model, batches, method, channel_maxima(model, batches, 1), 1)["layer"])
    assert len(set(ranges)) == 1 and ranges[0] > 5


def test_layers_that_share_an_input_and_inputs_that_share_a_layer() -> None:
    model = graph(
        [
            helper.make_node("MatMul", ["x", "left.weight.T"], ["a"]),
            helper.make_node("MatMul", ["x", "right.weight.T"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("MatMul", ["sum", "twice.weight.T"], ["once"]),
            helper.make_node("MatMul", ["once", "twice.weight.T"], ["logits"]),
        ],
        {"left.weight.T": 3 * np.eye(4), "right.weight.T": 2 * np.eye(4), "twice.weight.T": np.eye(4) / 10},
        width=4,
    )
    rows = np.random.default_rng(2).uniform(-1, 1, size=(300, 4)).astype(np.float32)
    rows[7] = [1, -1, 0.5, 1]
    maxima = channel_maxima(model, [{"x": rows}], 1)
    assert set(maxima) == {"left", "right", "twice"}
    channels = np.abs(rows).max(axis=0)
    np.testing.assert_allclose(maxima["left"], channels)
    np.testing.assert_allclose(maxima["right"], channels)
    np.testing.assert_allclose(maxima["twice"], 5 * channels, rtol=1e-6)  # of its first input, the larger
    for method in RANGES:
        ranges = tensor_ranges(model, [{"x": rows}], method, maxima, 1)
        assert set(ranges) == {"left", "right", "twice"}
        assert ranges["left"] == ranges["right"] <= 1 and 2.5 < ranges["twice"] <= 5.001


@given(
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.integers(0, 40),
    st.integers(0, 15),
    st.integers(1, 41),
)
def test_a_single_bad_value_is_never_missed(value: float, row: int, channel: int, count: int) -> None:
    rows = np.zeros((count, 16), np.float32)
    rows[row % count, channel] = value
    with pytest.raises(OutputError, match="the input of layer layer is NaN or infinite"):
        channel_maxima(one_layer(16), [{"x": np.ones((3, 16), np.float32)}, {"x": rows}], 1)


def test_bad_values_are_refused_with_the_layers_name(
    fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs
) -> None:
    def spoilt() -> Iterator[dict[str, Any]]:
        for feed in calibration.batches("sac"):
            patches = feed["patches"].copy()
            patches[-1, 17, 99] = np.nan
            yield {**feed, "patches": patches}

    with pytest.raises(OutputError, match=r"layer patch_embed\.proj is NaN or infinite"):
        channel_maxima(fp32["sac"], spoilt(), 1)
    model = onnx.ModelProto()
    model.CopyFrom(fp32["ee"])
    for tensor in model.graph.initializer:
        if tensor.name == "blocks.0.attn.proj.weight.T":
            weight = numpy_helper.to_array(tensor).copy()
            weight[5, 9] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    with pytest.raises(OutputError, match=r"layer blocks\.0\.mlp\.fc1 is NaN or infinite"):
        channel_maxima(model, calibration.batches("ee"), 1)
