"""The linear layers of an engine's graph, which int8 speeds up, by the names that both stages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

LINEAR = ("MatMul", "Gemm")
Models = Mapping[str, onnx.ModelProto]  # by role: ee, sac, deit


@dataclass(frozen=True)
class Linear:
    """A product with a constant matrix: the names of its layer, node, input tensor and weight."""

    layer: str
    node: str
    input: str
    weight: str


def linears(model: onnx.ModelProto) -> list[Linear]:
    """List the linear layers in the graph's order; products of two activations (attention) are not among them.

    Layers are named after their weights, so the same layer has the same name in every engine of a variant.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    return [
        Linear(layer_name(node.input[1]), node.name, node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type in LINEAR and node.input[1] in constant and node.input[0] not in constant
    ]


def layer_name(weight: str) -> str:
    """Name a layer after its weight: `blocks.0.attn.qkv.weight.T` -> `blocks.0.attn.qkv`."""
    return weight.removesuffix(".T").removesuffix(".weight")
