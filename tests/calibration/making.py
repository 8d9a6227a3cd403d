"""Small graphs made by hand, engines made worse to quantise, and the command called in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.calibration.cli import command
from sacvit_deploy.calibration.linears import Models, linears
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.export.graph import OPSET
from sacvit_deploy.glue import build_request
from sacvit_deploy.selection import select_targets

ROLES = ("ee", "sac", "deit")
Feed = Mapping[str, Any]


def calibrate(*arguments: object) -> str:
    """Run `sacvit calibrate` here, on one thread, and return its output; errors come as exceptions."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        command.main([*map(str, arguments), "--threads", "1"], standalone_mode=False)
    return output.getvalue()


def run(model: onnx.ModelProto, feed: Feed, *also: str) -> dict[str, Any]:
    """Run a model on one thread; `also` names inner tensors that are wanted next to its outputs."""
    if also:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        there = {value.name for value in model.graph.output}
        watched.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in also if name not in there
        )
        model = watched
    session = SessionFactory(1).open(model.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def graph(
    nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, Any], *, width: int, outputs: Sequence[str] = ("logits",)
) -> onnx.ModelProto:
    """Build a model over the input `x` [B,width]; nodes without a name get one."""
    for number, node in enumerate(nodes):
        node.name = node.name or f"node_{number}"
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()]
    made = helper.make_graph(
        nodes,
        "made_by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", None]) for name in outputs],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def weights_of(model: onnx.ModelProto) -> dict[str, Any]:
    """Return every constant by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def plant_outliers(model: onnx.ModelProto, by: float, channels: tuple[int, ...] = (7, 30)) -> onnx.ModelProto:
    """Return an engine in which a few channels behind LayerNorms are `by` times as large, and their weights smaller.

    Trained transformers are known for such channels. Only pairs of a LayerNorm and the one MatMul that reads
    it are changed; the numbers that come out are the same but for rounding.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in out.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in out.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    added = []
    for norm in out.graph.node:
        after = readers.get(norm.output[0], [])
        if norm.op_type != "LayerNormalization" or len(after) != 1 or after[0].op_type != "MatMul":
            continue
        for place in range(1, len(norm.input)):
            value = numpy_helper.to_array(tensors[norm.input[place]]).copy()
            value[list(channels)] *= by
            norm.input[place] = f"planted/{norm.name}/{place}"
            added.append(numpy_helper.from_array(value, norm.input[place]))
        weight = tensors[after[0].input[1]]
        value = numpy_helper.to_array(weight).copy()
        value[list(channels)] /= by
        weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    out.graph.initializer.extend(added)
    return out


def plant_in_bundle(bundle: Path, by: float) -> None:
    """Plant outliers in a bundle's fp32 engines; its manifest is left to `rehash`."""
    planted = {role: plant_outliers(onnx.load(str(bundle / f"{role}.fp32.onnx")), by) for role in ROLES}
    write_engines(bundle, {role: ir.serde.deserialize_model(model) for role, model in planted.items()}, "fp32")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def both_answers(model: SACViT, images: Pixels) -> tuple[Index, Index]:
    """Return the answers of stage 1 and of stage 2 at alpha 0.5 to each image."""
    low = model.cascade.stage_one(model.cascade.low_view(images))
    targets = select_targets(low["scores"], 24)
    request = build_request(images, low, np.arange(len(images)), targets, model.config)
    return low["logits"].argmax(axis=1), model.cascade.stage_two(request.inputs(model.config)).argmax(axis=1)


def on_the_border(model: SACViT, images: Pixels, stage: int, back: Float) -> tuple[Pixels, Index]:
    """Blend pairs of images with different answers to where the answer of stage 0 or 1 changes, a share `back` less.

    back: [n], one for each pair. Returns n images and the answers on their side of the border.
    """
    answers = both_answers(model, images)[stage]
    pairs = np.argwhere(answers[:, None] != answers[None, :])
    first, second = np.random.default_rng(stage).permutation(pairs)[: len(back)].T

    def blend(share: Float) -> Pixels:
        step = share[:, None, None, None]
        blended: Pixels = (images[first] * (1 - step) + images[second] * step).round().astype(np.uint8)
        return blended

    low, high = np.zeros(len(back)), np.ones(len(back))
    for _ in range(16):
        middle = (low + high) / 2
        same = both_answers(model, blend(middle))[stage] == answers[first]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return blend(low * (1 - back)), answers[first]


def layer_names(models: Models) -> list[str]:
    """List every layer of any engine once, in order of appearance."""
    return list(dict.fromkeys(linear.layer for model in models.values() for linear in linears(model)))


def by_node(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return nodes by name."""
    return {node.name: node for node in model.graph.node}
