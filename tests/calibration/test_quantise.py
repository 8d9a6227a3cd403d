"""The int8 engines' graphs: explicit, symmetric Q/DQ on the linear layers, and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.linears import LINEAR, linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import channel_maxima, tensor_ranges
from sacvit_deploy.errors import OutputError

from .making import ROLES, by_node, graph, run, weights_of

KEPT = ("blocks.0.mlp.fc2", "head", "reuse_block.1.fc1")
Ranges = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def ranges(fp32: Mapping[str, onnx.ModelProto], calibration: CalibrationInputs) -> Ranges:
    """Min-max ranges by role and layer."""
    ranges = {}
    for role in ROLES:
        maxima = channel_maxima(fp32[role], calibration.batches(role), 1)
        ranges[role] = tensor_ranges(fp32[role], calibration.batches(role), "minmax", maxima, 1)
    return ranges


@pytest.fixture(scope="module")
def int8(fp32: Mapping[str, onnx.ModelProto], ranges: Ranges) -> dict[str, onnx.ModelProto]:
    """The engines in int8, without the layers of KEPT."""
    return {role: quantise(fp32[role], ranges[role], KEPT) for role in ROLES}


def makers_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def axis_of(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)


@pytest.mark.parametrize("role", ROLES)
def test_inputs_are_quantised_with_the_calibrated_scale(
    fp32: Mapping[str, onnx.ModelProto], int8: dict[str, onnx.ModelProto], ranges: Ranges, role: str
) -> None:
    model = int8[role]
    nodes, makers, constants = by_node(model), makers_of(model), weights_of(model)
    layers = linears(fp32[role])
    assert {linear.layer for linear in layers} >= set(KEPT[:2])
    for linear in layers:
        node = nodes[linear.node]
        if linear.layer in KEPT:
            assert list(node.input[:2]) == [linear.input, linear.weight]
            continue
        dequantise = makers[node.input[0]]
        quantiser = makers[dequantise.input[0]]
        assert (quantiser.op_type, dequantise.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert quantiser.input[0] == linear.input
        for pair in (quantiser, dequantise):
            scale, zero = constants[pair.input[1]], constants[pair.input[2]]
            assert zero.dtype == np.int8 and zero.size == 1 and not zero.any()
            assert float(scale) == pytest.approx(ranges[role][linear.layer] / 127, rel=1e-6)


@pytest.mark.parametrize("role", ROLES)
def test_weights_have_a_scale_for_each_column(
    fp32: Mapping[str, onnx.ModelProto], int8: dict[str, onnx.ModelProto], role: str
) -> None:
    model, before = int8[role], weights_of(fp32[role])
    nodes, makers, constants = by_node(model), makers_of(model), weights_of(model)
    for linear in linears(fp32[role]):
        node = nodes[linear.node]
        if linear.layer in KEPT:
            assert np.array_equal(constants[linear.weight], before[linear.weight])
            continue
        dequantise = makers[node.input[1]]
        assert dequantise.op_type == "DequantizeLinear" and linear.weight not in constants
        weight, scale, zero = (constants[name] for name in dequantise.input)
        original = before[linear.weight]
        axis = 0 if node.op_type == "Gemm" else 1
        assert axis_of(dequantise) == axis and weight.dtype == zero.dtype == np.int8 and not zero.any()
        assert scale.shape == zero.shape == (original.shape[axis],) and weight.min() >= -127
        np.testing.assert_allclose(scale, np.abs(original).max(axis=1 - axis) / 127, rtol=1e-5)
        back = weight * np.expand_dims(scale, 1 - axis)
        assert (np.abs(back - original) <= 0.501 * np.expand_dims(scale, 1 - axis)).all()


@pytest.mark.parametrize("role", ROLES)
def test_nothing_else_is_quantised(
    fp32: Mapping[str, onnx.ModelProto], int8: dict[str, onnx.ModelProto], role: str
) -> None:
    model, before = int8[role], fp32[role]
    reduced = {linear.node for linear in linears(before) if linear.layer not in KEPT}
    makers = makers_of(model)
    for node in model.graph.node:
        quantised = [name for name in node.input if name in makers and makers[name].op_type == "DequantizeLinear"]
        assert len(quantised) == (2 if node.name in reduced else 0), node.name
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops.pop("QuantizeLinear") == len(reduced) and ops.pop("DequantizeLinear") == 2 * len(reduced)
    assert ops == Counter(node.op_type for node in before.graph.node)  # attention, LayerNorm, GELU as they were
    # No bias became int32, and nothing left the standard operators.
    old = {tensor.name for tensor in before.graph.initializer}
    added = {TensorProto.INT8, TensorProto.FLOAT}
    assert all(tensor.data_type in added for tensor in model.graph.initializer if tensor.name not in old)
    assert {entry.domain for entry in model.opset_import} <= {""} and {node.domain for node in model.graph.node} == {""}
    assert {entry.version for entry in model.opset_import} == {entry.version for entry in before.opset_import}
    assert [value.name for value in model.graph.output] == [value.name for value in before.graph.output]


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Return the graph that ONNX Runtime runs after its own optimisations."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


@pytest.mark.parametrize("role", ROLES)
def test_onnx_runtime_computes_with_bytes(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, role: str, tmp_path: Path
) -> None:
    model = optimised(quantise(fp32[role], ranges[role]), tmp_path)
    constants = {tensor.name for tensor in model.graph.initializer}
    ops = Counter(node.op_type for node in model.graph.node)
    count = len(linears(fp32[role]))
    assert ops["MatMulIntegerToFloat"] + ops["QGemm"] == count and ops["QGemm"] == 1  # the head
    assert ops["DequantizeLinear"] == 0
    slow = [node for node in model.graph.node if node.op_type in (*LINEAR, "FusedMatMul", "FusedGemm")]
    assert slow and not any(name in constants for node in slow for name in node.input)


@pytest.mark.parametrize("role", ROLES)
def test_answers_are_near_those_of_fp32(
    fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, calibration: CalibrationInputs, role: str
) -> None:
    model = quantise(fp32[role], ranges[role])
    for feed in calibration.batches(role):
        expected, outputs = run(fp32[role], feed), run(model, feed)
        for name, value in expected.items():
            assert 0 < np.abs(outputs[name] - value).max() < 0.2 * np.abs(value).max(), name


def test_an_engine_with_every_layer_kept(fp32: Mapping[str, onnx.ModelProto]) -> None:
    model = quantise(fp32["ee"], {}, [linear.layer for linear in linears(fp32["ee"])])
    assert model == fp32["ee"] and model is not fp32["ee"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_ranges_that_no_byte_can_hold(fp32: Mapping[str, onnx.ModelProto], ranges: Ranges, value: float) -> None:
    bad: dict[str, Any] = {**ranges["sac"], "blocks.1.mlp.fc2": value}
    with pytest.raises(OutputError, match=r"layer blocks\.1\.mlp\.fc2 has the range .*, which int8 can't represent"):
        quantise(fp32["sac"], bad)
    quantise(fp32["sac"], bad, ["blocks.1.mlp.fc2"])  # kept, it needs none


def test_the_engine_given_stays_as_it_is(fp32: Mapping[str, onnx.ModelProto], ranges: Ranges) -> None:
    before = fp32["ee"].SerializeToString(deterministic=True)
    model = quantise(fp32["ee"], ranges["ee"])
    assert fp32["ee"].SerializeToString(deterministic=True) == before
    assert not model.metadata_props and model.producer_name == fp32["ee"].producer_name


def test_biases_stay_as_they_are() -> None:
    random = np.random.default_rng(7)
    tensors = {
        "one.weight.T": random.normal(size=(8, 6)),
        "one.bias": random.normal(size=6),
        "two.weight": random.normal(size=(5, 6)),
        "two.bias": random.normal(size=5),
    }
    model = graph(
        [
            helper.make_node("MatMul", ["x", "one.weight.T"], ["product"], name="matmul"),
            helper.make_node("Add", ["product", "one.bias"], ["sum"], name="add"),
            helper.make_node("Gemm", ["sum", "two.weight", "two.bias"], ["logits"], name="gemm", transB=1),
        ],
        tensors,
        width=8,
    )
    rows = random.normal(size=(50, 8)).astype(np.float32)
    quantised = quantise(model, {"one": 4.0, "two": 12.0})
    nodes, constants = by_node(quantised), weights_of(quantised)
    assert nodes["add"].input[1] == "one.bias" and nodes["gemm"].input[2] == "two.bias"
    for name in ("one.bias", "two.bias"):
        assert constants[name].dtype == np.float32 and np.array_equal(constants[name], weights_of(model)[name])
    assert TensorProto.INT32 not in {tensor.data_type for tensor in quantised.graph.initializer}
    expected = run(model, {"x": rows})["logits"]
    assert np.abs(run(quantised, {"x": rows})["logits"] - expected).max() < 0.05 * np.abs(expected).max()
