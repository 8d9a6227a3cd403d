"""Tracing of a module into a small ONNX graph, its weights named after the state dict."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    NameFixPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)
from onnxscript import optimizer

from sacvit_deploy.errors import ExportError, first_line
from sacvit_deploy.export.fused import drop_unread_outputs
from sacvit_deploy.export.gelu import reorder_gelus
from sacvit_deploy.export.modules import EngineModule, StageModule

OPSET = 18  # has LayerNormalization; TensorRT 10.3 and ONNX Runtime 1.18 (JetPack 6) read it
IR_VERSION = 9
TRIED_TORCH = ("2.9", "2.13", "2.14")  # minor releases whose exporter was run, on the CPU, with parity in fp32 and fp16
FOLD_LIMIT = 1 << 30  # bytes; without a limit this high, transposed weights would be left to the runtime


def untried_torch(version: str) -> str | None:
    """Return a note on a version of torch whose exporter nobody has tried, or None for one that was."""
    if ".".join(version.split(".")[:2]) in TRIED_TORCH:
        return None
    return f"torch {version} has not been tried (tried: {', '.join(TRIED_TORCH)}); parity decides"


def trace(module: EngineModule) -> ir.Model:
    """Export one module as a simplified ONNX model with open batch and token counts. Raises ExportError."""
    with torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                module,
                module.example(),
                dynamo=True,
                dynamic_shapes=module.dynamic(),
                input_names=list(module.inputs),
                output_names=list(module.outputs),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch could not trace {type(module).__name__} ({first_line(error)})") from error
    assert program is not None
    model = simplify(program.model)
    if isinstance(module, StageModule):
        name_weights(model, module.weights())
    drop_unread_outputs(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "sacvit-deploy", ""
    model.graph.name = type(module).__name__
    return model


def simplify(model: ir.Model) -> ir.Model:
    """Simplify in place: fold constants, fix reshapes, merge duplicates, reorder GELUs, drop what is unused."""
    optimizer.fold_constants(model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    for node in model.graph:
        if node.op_type == "Reshape":
            _fix_reshape(model, node)
    optimizer.fold_constants(model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    RemoveUnusedNodesPass()(model)
    CommonSubexpressionEliminationPass()(model)
    reorder_gelus(model)
    # The metadata has stack traces with paths of the exporting machine.
    tidying = (RemoveUnusedNodesPass(), RemoveUnusedOpsetsPass(), NameFixPass(), ClearMetadataAndDocStringPass())
    for tidy in tidying:
        tidy(model)
    ends = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    for value in [*ends, *(value for node in model.graph for value in node.outputs)]:
        value.metadata_props.clear()
    model.metadata_props.clear()
    return model


def reshape_target(source: list[int | str | None], result: list[int | str | None]) -> list[int] | None:
    """Return a constant shape for a Reshape whose shape is computed, or None where no constant would do.

    source, result: dimensions of the input and the output, int where known, the symbol's name where not. In the
    constant, a known dimension is itself, an unchanged one 0, and one other may be -1.
    """
    target = [
        dim if isinstance(dim, int) else 0 if [dim] == source[index : index + 1] else -1
        for index, dim in enumerate(result)
    ]
    return target if target.count(-1) <= 1 else None


def _fix_reshape(model: ir.Model, node: ir.Node) -> None:
    source, shape, result = node.inputs[0], node.inputs[1], node.outputs[0]
    assert source is not None and shape is not None
    if shape.const_value is not None or source.shape is None or result.shape is None:
        return
    dims = ([dim if isinstance(dim, int) else dim.value for dim in value] for value in (source.shape, result.shape))
    target = reshape_target(*dims)
    if target is None:
        return
    name = f"shape_{node.name}"
    constant = ir.val(name, const_value=ir.tensor(np.array(target, dtype=np.int64), name=name))
    model.graph.register_initializer(constant)
    node.replace_input_with(1, constant)
    node.attributes.pop("allowzero", None)


def name_weights(model: ir.Model, weights: Mapping[str, torch.Tensor]) -> None:
    """Name each weight after its entry in the state dict `weights`, with `.T` where the graph holds it transposed."""
    known: dict[bytes, str] = {}
    for key, weight in weights.items():
        flat = weight.detach().flatten(1) if key == "patch_embed.proj.weight" else weight.detach()
        known[flat.contiguous().numpy().tobytes()] = key
        if flat.ndim == 2:
            known[flat.T.contiguous().numpy().tobytes()] = f"{key}.T"
    taken: set[str] = set()
    for value in list(model.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None:
            continue
        # The tracer's name; the bytes only where it is lost, and of large tensors: small ones may be equal by chance.
        traced = (value.name or "").removeprefix("model.")
        name = traced if traced in weights else known.get(tensor.numpy().tobytes()) if tensor.nbytes >= 64 else None
        # Equal values (a fresh LayerNorm's ones) share a name only once.
        if name and name not in taken and name not in model.graph.initializers:
            value.name = name
            taken.add(name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and output of torch's exporter; errors are still raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
