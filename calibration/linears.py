"""The linear layers of an engine's graph, which int8 speeds up, by the names that both stages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

LINEAR = ("MatMul", "Gemm")
Models = Mapping[str, onnx.ModelProto]  # by role: ee, sac, deit


@dataclass(frozen=True)
class Linear:
    """A product of an input [..,K] and a constant matrix: names, K, and which axis of the weight has K entries."""

    layer: str
    node: str
    input: str
    weight: str
    channels: int
    axis: int


def linears(model: onnx.ModelProto) -> list[Linear]:
    """List the linear layers in the graph's order; products of two activations (attention) are not among them.

    Layers are named after their weights, so the same layer has the same name in every engine of a variant.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type in LINEAR and node.input[1] in constants and node.input[0] not in constants:
            source, weight = node.input[:2]
            axis = int(any(attribute.name == "transB" and attribute.i for attribute in node.attribute))
            channels = constants[weight].dims[axis]
            layers.append(Linear(layer_name(weight), node.name, source, weight, channels, axis))
    return layers


def layer_name(weight: str) -> str:
    """Name a layer after its weight: `blocks.0.attn.qkv.weight.T` -> `blocks.0.attn.qkv`."""
    return weight.removesuffix(".T").removesuffix(".weight")
