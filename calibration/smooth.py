"""Moves outlier channels from activations into weights, where int8 has a scale for each column.

SmoothQuant (arXiv 2211.10438, equation 4): a LayerNorm's channel j is divided by s_j and row j of the matrices that
read it is multiplied by s_j: the outputs stay the same, the ranges change. The graph keeps its nodes; only constants
change. Both engines of a cascade share their weights, so they share s.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from sacvit_deploy.calibration.linears import Linear, Models, linears
from sacvit_deploy.calibration.ranges import Maxima

Factors = dict[str, npt.NDArray[np.float32]]  # layer: [K]
FLOOR = 1e-5  # of the largest: keeps s finite for a channel that is always zero


def joint_maxima(maxima: Mapping[str, Maxima]) -> Maxima:
    """Merge the channels' maxima of several engines (by role): the largest of each layer."""
    joint: Maxima = {}
    for by_layer in maxima.values():
        for layer, value in by_layer.items():
            joint[layer] = np.maximum(joint.get(layer, np.float32(0)), value)
    return joint


def factors(models: Models, maxima: Maxima, strength: float) -> Factors:
    """Return s for every layer that follows a LayerNorm in all engines that have it.

    s_j = max|X_j|^strength / max|W_j|^(1 - strength), scaled to a geometric mean of 1. strength in [0, 1]; 0 leaves the
    activations as they are.
    """
    by_layer: Factors = {}
    if strength == 0:
        return by_layer
    barred: set[str] = set()
    for model in models.values():
        foldable = {linear.layer for linear in _groups(model)}
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for linear in linears(model):
            if linear.layer not in foldable:
                barred.add(linear.layer)
            elif linear.layer not in by_layer:
                weight = np.abs(numpy_helper.to_array(weights[linear.weight])).max(axis=1)
                x, w = (np.maximum(v, FLOOR * max(float(v.max()), 1e-30)) for v in (maxima[linear.layer], weight))
                log = strength * np.log(x) - (1 - strength) * np.log(w)
                by_layer[linear.layer] = np.exp(log - log.mean()).astype(np.float32)
    return {layer: s for layer, s in by_layer.items() if layer not in barred}


def fold(model: onnx.ModelProto, chosen: Factors) -> onnx.ModelProto:
    """Return the model with the factors folded into its LayerNorms and matrices; its outputs stay the same."""
    out = copy.deepcopy(model)
    tensors = {tensor.name: tensor for tensor in out.graph.initializer}
    norms = {node.output[0]: node for node in out.graph.node if node.op_type == "LayerNormalization"}
    scaled: set[str] = set()
    for linear in _groups(out):
        if linear.layer not in chosen:
            continue
        s = chosen[linear.layer]
        norm = norms[linear.input]
        # New names: LayerNorms with equal values may share their tensors.
        for place in range(1, len(norm.input)):
            value = numpy_helper.to_array(tensors[norm.input[place]]) / s
            name = f"{linear.input}.smoothed.{('weight', 'bias')[place - 1]}"
            out.graph.initializer.append(numpy_helper.from_array(value, name))
            norm.input[place] = name
        if linear.weight in scaled:  # for another node that reads the same weight
            continue
        scaled.add(linear.weight)
        weight = tensors[linear.weight]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * s[:, None], weight.name))
    used = {name for node in out.graph.node for name in node.input}
    kept = [tensor for tensor in out.graph.initializer if tensor.name in used]
    del out.graph.initializer[:]
    out.graph.initializer.extend(kept)
    return out


def _groups(model: onnx.ModelProto) -> list[Linear]:
    """List the layers whose input is a LayerNorm that nothing else reads."""
    readers: dict[str, int] = {value.name: 1 for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    norms = {node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    return [
        linear
        for linear in linears(model)
        if linear.input in norms and readers[linear.input] == 1 and linear.weight.endswith(".T")
    ]
