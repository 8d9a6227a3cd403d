"""The layers that int8 applies to: every product with a weight matrix, no product of two activations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import helper

from sacvit_deploy.calibration.linears import LINEAR, layer_name, linears

from .making import by_node, graph, layer_names, weights_of

BLOCKS = [f"blocks.{n}.{name}" for n in (0, 1) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
COMMON = {"patch_embed.proj", *BLOCKS, "head"}
LAYERS = {"ee": COMMON, "sac": COMMON | {"reuse_block.1.fc1", "reuse_block.1.fc2"}, "deit": COMMON}


@pytest.mark.parametrize("role", LAYERS)
def test_every_layer_of_an_engine_under_the_checkpoints_name(fp32: Mapping[str, onnx.ModelProto], role: str) -> None:
    model = fp32[role]
    layers = linears(model)
    assert {linear.layer for linear in layers} == LAYERS[role] and len(layers) == len(LAYERS[role])
    nodes, constants = by_node(model), weights_of(model)
    for linear in layers:
        node = nodes[linear.node]
        assert list(node.input[:2]) == [linear.input, linear.weight]
        assert constants[linear.weight].ndim == 2 and linear.input not in constants
    # What is left are attention's products: two a block, in stage 2 two a cluster and block.
    rest = [
        node
        for node in model.graph.node
        if node.op_type in LINEAR and node.name not in {linear.node for linear in layers}
    ]
    assert len(rest) == (8 if role == "sac" else 4)
    assert not any(name in constants for node in rest for name in node.input)


def test_engines_share_names_and_weights(fp32: Mapping[str, onnx.ModelProto]) -> None:
    assert layer_names(fp32) == ["patch_embed.proj", *BLOCKS, "head", "reuse_block.1.fc1", "reuse_block.1.fc2"]
    for role in ("sac", "deit"):
        own, other = weights_of(fp32["ee"]), weights_of(fp32[role])
        for linear in linears(fp32["ee"]):
            assert np.array_equal(own[linear.weight], other[linear.weight])


@pytest.mark.parametrize(
    ("weight", "layer"),
    [("blocks.0.attn.qkv.weight.T", "blocks.0.attn.qkv"), ("head.weight", "head"), ("weight.weight.T", "weight")],
)
def test_names(weight: str, layer: str) -> None:
    assert layer_name(weight) == layer


def test_products_that_are_no_layers() -> None:
    square = np.eye(4)
    model = graph(
        [
            helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["a", "turned"], ["left"]),  # its constant is on the left
            helper.make_node("MatMul", ["x", "left"], ["both"]),  # of two activations
            helper.make_node("MatMul", ["both", "x"], ["again"]),
            helper.make_node("Gemm", ["again", "last.weight", "bias"], ["sum"], name="the_gemm"),
            helper.make_node("MatMul", ["a", "b"], ["folded"]),  # of two constants
            helper.make_node("MatMul", ["sum", "folded"], ["logits"]),
        ],
        {"a": square, "b": square, "last.weight": square, "bias": np.zeros(4)},
        width=4,
    )
    assert [(linear.layer, linear.node) for linear in linears(model)] == [("last", "the_gemm")]
