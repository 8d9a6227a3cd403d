"""Sensitivity of the answers to int8, one layer at a time, and a chart of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.confidence import softmax
from sacvit_deploy.console.figures import new_figure, save_png
from sacvit_deploy.errors import UsageError

LEVELS = 127  # of symmetric int8
SWITCH = "switch"
KEPT, REDUCED = "#c0504d", "#4f81bd"  # colours of the chart


def layer_sensitivity(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    batches: Iterable[Mapping[str, Array]],
    threads: int,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """Return by layer how far the answers move when that layer alone is quantised.

    The measure is the mean Kullback-Leibler divergence of the class probabilities from fp32's, in nats. advance: called
    after each run of a layer on a batch.
    """
    switchable = switched(model, ranges)
    layers = [linear.layer for linear in linears(model)]
    session = SessionFactory(threads).open(switchable.SerializeToString())
    moved: dict[str, list[float]] = {layer: [] for layer in dict.fromkeys(layers)}
    for batch in batches:
        reference = softmax(_logits(session, batch, np.zeros(len(layers), np.float32)))
        for layer in moved:
            alone = np.array([name == layer for name in layers], np.float32)
            moved[layer] += answer_divergence(reference, softmax(_logits(session, batch, alone))).tolist()
            advance(1)
    return {layer: float(np.mean(values)) for layer, values in moved.items()}


def answer_divergence(reference: Array, probabilities: Array) -> npt.NDArray[np.float64]:
    """Return KL(reference || probabilities) of [B,C] probabilities: [B], in nats."""
    tiny = np.finfo(np.float64).tiny
    out: npt.NDArray[np.float64] = (reference * (np.log(reference + tiny) - np.log(probabilities + tiny))).sum(axis=1)
    return out


def switched(model: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """Return an engine with one more input, `switch` [layers]: 1 rounds that layer's input and weight as int8 would.

    One session then measures every layer; opening one for each would take longer than measuring.
    """
    out = copy.deepcopy(model)
    layers = linears(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    out.graph.input.append(helper.make_tensor_value_info(SWITCH, TensorProto.FLOAT, [len(layers)]))
    nodes: list[onnx.NodeProto] = []
    numbers = {linear.node: number for number, linear in enumerate(layers)}
    for original in model.graph.node:
        node = copy.deepcopy(original)
        number = numbers.get(node.name)
        if number is None:
            nodes.append(node)
            continue
        linear, stem = layers[number], f"switched/{number}"
        weight = numpy_helper.to_array(tensors[linear.weight])
        scale = np.abs(weight).max(axis=linear.axis, keepdims=True) / LEVELS
        rounded = np.round(weight / np.maximum(scale, 1e-30)).clip(-LEVELS, LEVELS) * scale
        constants = {
            "number": np.array([number], np.int64),
            "scale": np.array(max(ranges[linear.layer], 1e-30) / LEVELS, np.float32),
            "zero": np.array(0, np.int8),
            "change": (rounded - weight).astype(np.float32),
        }
        out.graph.initializer.extend(numpy_helper.from_array(v, f"{stem}/{name}") for name, v in constants.items())
        nodes.append(helper.make_node("Gather", [SWITCH, f"{stem}/number"], [f"{stem}/on"]))
        scale_zero = [f"{stem}/scale", f"{stem}/zero"]
        nodes.append(helper.make_node("QuantizeLinear", [linear.input, *scale_zero], [f"{stem}/q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{stem}/q", *scale_zero], [f"{stem}/dq"]))
        nodes.append(helper.make_node("Sub", [f"{stem}/dq", linear.input], [f"{stem}/error"]))
        for source, change, name in ((linear.input, "error", "x"), (linear.weight, "change", "w")):
            nodes.append(helper.make_node("Mul", [f"{stem}/{change}", f"{stem}/on"], [f"{stem}/{name}_moved"]))
            nodes.append(helper.make_node("Add", [source, f"{stem}/{name}_moved"], [f"{stem}/{name}"]))
        node.input[0], node.input[1] = f"{stem}/x", f"{stem}/w"
        nodes.append(node)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out


def _logits(session: object, batch: Mapping[str, Array], switch: npt.NDArray[np.float32]) -> Array:
    logits: Array = session.run(["logits"], {**batch, SWITCH: switch})[0]  # type: ignore[attr-defined]
    return logits


def draw_sensitivity(bundle: Bundle, path: Path) -> None:
    """Draw the sensitivities that the manifest records for the int8 variant. Raises UsageError, SacvitError."""
    variant = bundle.manifest.variants.get("int8")
    if variant is None or "calibration" not in variant.report:
        raise UsageError(f"{bundle.path} has no calibrated int8 variant to draw")
    facts = variant.report["calibration"]
    sensitivity: dict[str, float] = facts["damage"]
    kept = set(facts["kept_in_fp32"])
    with new_figure(504, 72 + 11.5 * len(sensitivity)) as figure:
        axes = figure.add_subplot()
        for place, (layer, value) in enumerate(sensitivity.items()):
            axes.barh(place, max(value, 1e-9), color=KEPT if layer in kept else REDUCED)
        axes.set_yticks(range(len(sensitivity)), sensitivity, fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xscale("log")
        axes.set_xlabel("mean KL divergence from fp32 with this layer alone in int8, nats")
        axes.set_title(f"{bundle.manifest.name}: {len(kept)} of {len(sensitivity)} layers kept in fp32", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        save_png(figure, path, dpi=110)
