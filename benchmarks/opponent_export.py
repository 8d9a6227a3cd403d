"""Exporting the opponents of a bundle by the same exporter, over the weights of the bundle's own DeiT. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import Bundle, describe_file
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import channel_maxima, tensor_ranges
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import SAIT_KEPT, stvit_image_blocks
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import ExportError, UsageError
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import PlainDeiT, Stage, empty_model, halve
from sacvit_deploy.export.opponents import SaiT, SaiTHead, SaiTTail, STViT
from sacvit_deploy.export.reference import normalised, random_pictures
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.precisions import PRECISIONS

OWN = "the bundle's own DeiT weights, not trained as this method"
RANDOM = "random weights"
CALIBRATION = 8  # pictures of noise; what an opponent answers is not judged, only how long it takes


def export_opponents(bundle: Bundle, precision: str, folder: Path) -> tuple[dict[str, FileEntry], str, dict[str, str]]:
    """Write the opponents' engines into `folder`: file entries by role, whose weights, who is missing and why.

    Raises ExportError where an engine does not do what its reference does.
    """
    config = bundle.manifest.config
    model, weights = dense_model(bundle)
    full = stages(model)
    missing = {}
    try:
        stvit_image_blocks(config.geometry.depth)
    except UsageError as error:
        missing["stvit"] = str(error)
    traced = full if precision != "fp16" else stages(halve(model))
    graphs = {role: trace(stage) for role, stage in traced.items()}
    feeds = example_feeds(full, config)
    if precision == "int8":
        graphs = eight_bits(graphs, feeds)
    paths = write_engines(folder, graphs, precision)
    backend = OnnxRuntimeBackend("cpu", usable_cores())
    for role, stage in full.items():
        found = backend.open(paths[role], paths["weights"]).run(feeds[role])
        with torch.no_grad():
            out = stage(*(torch.from_numpy(value) for value in feeds[role].values()))
        for name, expected in zip(stage.outputs, out if isinstance(out, tuple) else (out,), strict=True):
            off = float(np.abs(found[name] - expected.numpy()).max() / np.abs(expected.numpy()).max())
            # Eight bits and half precision may prefer another token, and without training its own way SaiT feels it.
            if not np.isfinite(off) or (precision == "fp32" and off > PRECISIONS["fp32"].tolerance):
                raise ExportError(f"the {precision} engine {role} differs from its reference by {off:.1e}")
    return {role: describe_file(path) for role, path in paths.items()}, weights, missing


def stages(model: ReferenceSACViT) -> dict[str, Stage]:
    """The opponents as the exporter takes them; STViT only where the network is deep enough."""
    found: dict[str, Stage] = {"sait": SaiT(model), "sait_head": SaiTHead(model), "sait_tail": SaiTTail(model)}
    if model.config.geometry.depth >= 4:
        found["stvit"] = STViT(model)
    return found


def example_feeds(full: Mapping[str, Stage], config: ModelConfig) -> dict[str, dict[str, Array]]:
    """Inputs for every engine, noise through the references: to calibrate with, and to compare on."""
    images = normalised(random_pictures(CALIBRATION, config.geometry.image_size), config)
    kept = round(SAIT_KEPT * CHILDREN * config.geometry.tokens)
    with torch.no_grad():
        tokens, scores = full["sait_head"](images)
        rows = scores.topk(kept, dim=1).indices + 1
        best = torch.take_along_dim(tokens, rows[..., None], dim=1)
    found: dict[str, dict[str, Array]] = {
        "sait": {"image": images.numpy(), "slots": np.arange(kept)},
        "sait_head": {"image": images.numpy()},
        "sait_tail": {"tokens": torch.cat([tokens[:, :1], best], dim=1).numpy()},
        "stvit": {"image": images.numpy()},
    }
    return {role: found[role] for role in full}


def eight_bits(graphs: Mapping[str, ir.Model], feeds: Mapping[str, Mapping[str, Array]]) -> dict[str, ir.Model]:
    """Quantise all linear layers by the bundle's quantiser; smoothing changes accuracy, not time, and is left out."""
    reduced = {}
    for role, graph in graphs.items():
        model = ir.to_proto(graph)
        maxima = channel_maxima(model, [feeds[role]], usable_cores())
        ranges = tensor_ranges(model, [], "minmax", maxima, usable_cores())
        reduced[role] = ir.serde.deserialize_model(quantise(model, ranges))
        reduced[role].graph.sort()
    return reduced


def dense_model(bundle: Bundle) -> tuple[ReferenceSACViT, str]:
    """A reference model with the weights of the bundle's plain DeiT, and whose they are; random ones where it has none.

    Raises ExportError where the model found does not do what the bundle's engine does.
    """
    config = bundle.manifest.config
    model = empty_model(config)
    variant = bundle.manifest.variants.get("fp32")
    if variant is None or BASELINE not in variant.files:
        return model, RANDOM
    files = bundle.checked_files("fp32")
    graph = onnx.load(str(files[BASELINE])).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= attention_biases(graph, values)
    state = {key: weight_named(key, value, values) for key, value in model.state_dict().items()}
    width, tokens = config.geometry.width, CHILDREN * config.geometry.tokens
    # The exporter folded the class token and its position into one; the sum is all that a DeiT needs.
    table = torch.zeros(1, tokens + 1, width)
    table[:, :1] = only(values, (1, 1, width))
    table[:, 1:] = only(values, (1, tokens, width))
    state["cls_token"] = torch.zeros(1, 1, width)
    state["pos_embed" if config.method.positions == "shared" else "pos_embed_list.1"] = table
    model.load_state_dict(state)
    images = random_pictures(2, config.geometry.image_size)
    view = normalised(images, config)
    found = OnnxRuntimeBackend("cpu", usable_cores()).open(files[BASELINE], files["weights"])
    logits = found.run({"image": view.numpy()})["logits"]
    with torch.no_grad():
        expected = PlainDeiT(model)(view).numpy()
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    if not error <= PRECISIONS["fp32"].tolerance:
        raise ExportError(f"the weights read back from {files[BASELINE].name} give other answers, by {error:.1e}")
    return model, OWN


def attention_biases(graph: onnx.GraphProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """The biases that the exporter changed, by their names in the state dict.

    Only queries' are left of `qkv`'s; keys' need none, values' are in the projection's (`export/blocks.py`).
    """
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    found: dict[str, Array] = {}
    queries = np.zeros(0)  # of the block whose projection comes next
    for node in graph.node:
        constants = [values[name] for name in node.input if name in values]
        if node.op_type == "Add" and constants and constants[0].ndim == 4:
            queries = constants[0].reshape(-1)
        if node.op_type == "MatMul" and node.input[1].endswith(".attn.proj.weight.T"):
            layer = node.input[1].removesuffix(".proj.weight.T")
            (bias,) = (values[name] for name in added[node.output[0]].input if name in values)
            rest = np.zeros(2 * bias.size, dtype=bias.dtype)
            found |= {f"{layer}.proj.bias": bias, f"{layer}.qkv.bias": np.concatenate([queries, rest])}
    return found


def weight_named(key: str, value: torch.Tensor, values: Mapping[str, Array]) -> torch.Tensor:
    """One entry of the state dict from the graph's tensors; what a plain DeiT does not have stays as it was."""
    if key in values:
        return torch.from_numpy(values[key].copy()).reshape(value.shape)
    if f"{key}.T" in values:
        return torch.from_numpy(values[f"{key}.T"].T.copy()).reshape(value.shape)
    return value


def only(values: Mapping[str, Array], shape: tuple[int, ...]) -> torch.Tensor:
    """The one tensor of a shape. Raises ExportError unless there is just one."""
    found = [value for value in values.values() if value.shape == shape]
    if len(found) != 1:
        raise ExportError(f"the bundle's DeiT engine has {len(found)} tensors of the shape {list(shape)}, not one")
    return torch.from_numpy(found[0].copy())
