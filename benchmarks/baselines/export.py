"""Export of the baselines by the bundle's own exporter, over the weights of its plain DeiT. Needs torch."""

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
from sacvit_deploy.benchmarks.baselines.costs import SAIT_KEPT, stvit_image_blocks
from sacvit_deploy.benchmarks.baselines.models import SaiT, SaiTHead, SaiTTail, STViT
from sacvit_deploy.bundle.bundle import Bundle, describe_file
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import channel_maxima, tensor_ranges
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import ExportError, UsageError
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import PlainDeiT, StageModule, halve, random_model
from sacvit_deploy.export.reference import normalised, random_images
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.parity import relative_error

OWN = "the bundle's own DeiT weights, not trained as this method"
RANDOM = "random weights"
STAGES: dict[str, type[StageModule]] = {"sait": SaiT, "sait_head": SaiTHead, "sait_tail": SaiTTail, "stvit": STViT}
CALIBRATION = 8  # images of noise: only the time of a baseline is measured, not its accuracy


def export_baselines(bundle: Bundle, precision: str, folder: Path) -> tuple[dict[str, FileEntry], str, dict[str, str]]:
    """Write the baselines' engines into `folder`.

    Returns file entries by role, the origin of the weights, and the reasons for missing baselines by name. Raises
    ExportError where an engine differs from its PyTorch reference.
    """
    config = bundle.manifest.config
    model, weights = dense_model(bundle)
    missing = {}
    try:
        stvit_image_blocks(config.geometry.depth)
    except UsageError as error:
        missing["stvit"] = str(error)
    roles = [role for role in STAGES if role not in missing]
    full = {role: STAGES[role](model) for role in roles}
    reduced = halve(model) if precision == "fp16" else model
    graphs = {role: trace(STAGES[role](reduced)) for role in roles}
    inputs = example_inputs(full, config)
    if precision == "int8":
        graphs = quantise_int8(graphs, inputs)
    paths = write_engines(folder, graphs, precision)
    backend = OnnxRuntimeBackend("cpu", usable_cores())
    for role, stage in full.items():
        outputs = backend.open(paths[role], paths["weights"]).run(inputs[role])
        with torch.no_grad():
            out = stage(*(torch.from_numpy(value) for value in inputs[role].values()))
        for name, expected in zip(stage.outputs, out if isinstance(out, tuple) else (out,), strict=True):
            off = relative_error(outputs[name], expected.numpy())
            # int8 and fp16 may rank tokens otherwise, which changes the answers of a SaiT that was not trained as one.
            if not np.isfinite(off) or (precision == "fp32" and off > PRECISIONS["fp32"].tolerance):
                raise ExportError(f"the {precision} engine {role} differs from its reference by {off:.1e}")
    return {role: describe_file(path) for role, path in paths.items()}, weights, missing


def example_inputs(stages: Mapping[str, StageModule], config: ModelConfig) -> dict[str, dict[str, Array]]:
    """Make inputs of every engine by running noise through the references: to calibrate with, and to compare on."""
    images = normalised(random_images(CALIBRATION, config.geometry.image_size), config)
    kept = round(SAIT_KEPT * CHILDREN * config.geometry.tokens)
    with torch.no_grad():
        tokens, scores = stages["sait_head"](images)
        rows = scores.topk(kept, dim=1).indices + 1
        best = torch.take_along_dim(tokens, rows[..., None], dim=1)
    inputs: dict[str, dict[str, Array]] = {
        "sait": {"image": images.numpy(), "slots": np.arange(kept)},
        "sait_head": {"image": images.numpy()},
        "sait_tail": {"tokens": torch.cat([tokens[:, :1], best], dim=1).numpy()},
        "stvit": {"image": images.numpy()},
    }
    return {role: inputs[role] for role in stages}


def quantise_int8(graphs: Mapping[str, ir.Model], inputs: Mapping[str, Mapping[str, Array]]) -> dict[str, ir.Model]:
    """Quantise all linear layers by the bundle's quantiser, without smoothing, which changes accuracy but no time."""
    reduced = {}
    for role, graph in graphs.items():
        model = ir.to_proto(graph)
        maxima = channel_maxima(model, [inputs[role]], usable_cores())
        ranges = tensor_ranges(model, [], "minmax", maxima, usable_cores())
        reduced[role] = ir.serde.deserialize_model(quantise(model, ranges))
        reduced[role].graph.sort()
    return reduced


def dense_model(bundle: Bundle) -> tuple[ReferenceSACViT, str]:
    """Read the weights of the bundle's plain DeiT back into a reference model; random ones where it has no DeiT.

    Returns the model and the origin of its weights. Raises ExportError where it differs from the bundle's engine.
    """
    config = bundle.manifest.config
    model = random_model(config)
    variant = bundle.manifest.variants.get("fp32")
    if variant is None or BASELINE not in variant.files:
        return model, RANDOM
    files = bundle.checked_files("fp32")
    graph = onnx.load(str(files[BASELINE])).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.removesuffix(".T"): value.T if name.endswith(".T") else value for name, value in values.items()}
    weights |= attention_biases(graph, values)
    # A plain DeiT lacks some of the model's tensors, which keep their random values.
    state = {
        key: torch.from_numpy(weights[key].copy()).reshape(value.shape) if key in weights else value
        for key, value in model.state_dict().items()
    }
    width, tokens = config.geometry.width, CHILDREN * config.geometry.tokens
    # The exporter folded the class token and its position embedding into their sum, which is all that a DeiT needs.
    table = torch.zeros(1, tokens + 1, width)
    table[:, :1] = the_tensor(values, (1, 1, width))
    table[:, 1:] = the_tensor(values, (1, tokens, width))
    state["cls_token"] = torch.zeros(1, 1, width)
    state["pos_embed" if config.method.positions == "shared" else "pos_embed_list.1"] = table
    model.load_state_dict(state)
    images = random_images(2, config.geometry.image_size)
    view = normalised(images, config)
    engine = OnnxRuntimeBackend("cpu", usable_cores()).open(files[BASELINE], files["weights"])
    logits = engine.run({"image": view.numpy()})["logits"]
    with torch.no_grad():
        expected = PlainDeiT(model)(view).numpy()
    error = relative_error(logits, expected)
    if not error <= PRECISIONS["fp32"].tolerance:
        raise ExportError(f"the weights read back from {files[BASELINE].name} give other answers, by {error:.1e}")
    return model, OWN


def attention_biases(graph: onnx.GraphProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """Find the attention biases that the exporter changed, by their names in the state dict.

    Of the `qkv` bias only the queries' part is left in the graph: the keys' part has no effect, and the values' part is
    folded into the projection's bias (`export/blocks.py`).
    """
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    biases: dict[str, Array] = {}
    queries = np.zeros(0)  # of the block whose projection comes next
    for node in graph.node:
        constants = [values[name] for name in node.input if name in values]
        if node.op_type == "Add" and constants and constants[0].ndim == 4:
            queries = constants[0].reshape(-1)
        if node.op_type == "MatMul" and node.input[1].endswith(".attn.proj.weight.T"):
            layer = node.input[1].removesuffix(".proj.weight.T")
            (bias,) = (values[name] for name in added[node.output[0]].input if name in values)
            rest = np.zeros(2 * bias.size, dtype=bias.dtype)
            biases |= {f"{layer}.proj.bias": bias, f"{layer}.qkv.bias": np.concatenate([queries, rest])}
    return biases


def the_tensor(values: Mapping[str, Array], shape: tuple[int, ...]) -> torch.Tensor:
    """Return the one tensor of a shape. Raises ExportError unless there is just one."""
    matching = [value for value in values.values() if value.shape == shape]
    if len(matching) != 1:
        raise ExportError(f"the bundle's DeiT engine has {len(matching)} tensors of the shape {list(shape)}, not one")
    return torch.from_numpy(matching[0].copy())
