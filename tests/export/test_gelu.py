"""GELU in the order that runtimes fuse."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from sacvit_deploy.export import graph
from sacvit_deploy.export.gelu import reorder_gelus
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.modules import EEStage

from .conftest import VARIANTS, Exported
from .making import config_of, images_for, lively_model

Export = Callable[[str], Exported]
ROLES = ("ee", "sac", "deit")
engines = pytest.mark.parametrize(
    ("name", "precision", "role"),
    [(name, precision, role) for (name, precision), role in itertools.product(VARIANTS, ROLES)],
)

# What torch writes, with capitals for what the tests change.
TORCH = """
<ir_version: 9, opset_import: ["" : 18]>
gelu (TYPE[N] x) => (TYPE[N] y) <TYPE root = {ROOT}, TYPE one = {ONE}, TYPE half = {HALF}>
{
    scaled = Div(x, root)
    erf = Erf(scaled)
    sum = Add(erf, one)
    inner = Mul(INNER)
    y = Mul(OUTER)
}
"""


def gelu(kind: str = "float", half: str = "0.5", inner: str = "half, sum", outer: str = "x, inner") -> ir.Model:
    text = TORCH.replace("TYPE", kind).replace("INNER", inner).replace("OUTER", outer)
    for name, value in {"ROOT": "1.4142135", "ONE": "1", "HALF": half}.items():
        # The text form wants a half-precision number as its bits.
        text = text.replace(name, str(np.float16(value).view(np.uint16)) if kind == "float16" else value)
    return ir.from_onnx_text(text)


def products(model: ir.Model) -> list[set[str | None]]:
    return [{value.name for value in node.inputs if value} for node in model.graph if node.op_type == "Mul"]


def evaluate(model: ir.Model, x: np.ndarray) -> np.ndarray:
    """Evaluate node by node in the graph's precision; ONNX Runtime's CPU kernels would compute half graphs in fp32."""
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])


@pytest.mark.parametrize("inner", ["half, sum", "sum, half"])
@pytest.mark.parametrize("outer", ["x, inner", "inner, x"])
def test_the_half_moves_to_the_input(inner: str, outer: str) -> None:
    model = gelu(inner=inner, outer=outer)
    assert reorder_gelus(model) == 1
    assert products(model) == [{"x", "half"}, {"inner", "sum"}]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert reorder_gelus(model) == 0  # there is nothing left to do


@pytest.mark.parametrize(
    "changes",
    [{"half": "0.25"}, {"inner": "half, erf"}, {"inner": "sum, sum"}, {"outer": "scaled, inner"}, {"outer": "x, sum"}],
)
def test_what_is_no_gelu_stays_as_it_is(changes: dict[str, str]) -> None:
    model = gelu(**changes)
    before = products(model)
    assert reorder_gelus(model) == 0
    assert products(model) == before


@pytest.mark.parametrize("value", ["sum", "inner"])
def test_a_part_that_others_read_stays_as_it_is(value: str) -> None:
    model = gelu()
    named = {out.name: out for node in model.graph for out in node.outputs}
    model.graph.outputs.append(named[value])
    assert reorder_gelus(model) == 0


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_the_order_changes_no_bit_and_overflows_nowhere(kind: str) -> None:
    dtype = np.dtype(np.float32 if kind == "float" else np.float16)
    edge = np.finfo(np.float16).max  # twice this is infinite in half precision
    x = np.concatenate([np.linspace(-9, 9, 1001), [edge, -edge, 40000, -40000]]).astype(dtype)
    torchs, ours = gelu(kind), gelu(kind)
    reorder_gelus(ours)
    expected, outputs = evaluate(torchs, x), evaluate(ours, x)
    assert outputs.dtype == dtype
    assert np.array_equal(outputs, expected)
    assert outputs[-4:].tolist() == [edge, 0, 40000, 0]


@engines
def test_every_gelu_of_an_engine_has_the_order_that_fuses(
    name: str, precision: str, role: str, exports: Export
) -> None:
    """(x * 0.5) * (1 + erf(x / root)): the pattern in ONNX Runtime's GeluFusion."""
    model = ir.from_proto(onnx.load(exports(name).file(role, precision), load_external_data=False))
    erfs = [node for node in model.graph if node.op_type == "Erf"]
    assert len(erfs) == gelus(exports(name), role)
    for erf in erfs:
        x = erf.inputs[0].producer().inputs[0]  # type: ignore[union-attr]
        ((add, _),) = erf.outputs[0].uses()
        ((product, place),) = add.outputs[0].uses()
        halved = product.inputs[1 - place].producer()  # type: ignore[union-attr]
        assert halved is not None
        assert (add.op_type, product.op_type, halved.op_type) == ("Add", "Mul", "Mul")
        assert x in halved.inputs
        (factor,) = (value for value in halved.inputs if value is not x)
        assert factor is not None and factor.const_value is not None
        assert float(factor.const_value.numpy().reshape(())) == 0.5


def gelus(exported: Exported, role: str) -> int:
    return exported.config.geometry.depth + (role == "sac" and exported.config.method.fusion != "none")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", [name for name, precision in VARIANTS if precision == "fp32"])
def test_onnx_runtime_fuses_gelu_and_the_bias_before_it(name: str, role: str, exports: Export, tmp_path: Path) -> None:
    seen = fused(exports(name).file(role, "fp32"), tmp_path / "optimised.onnx")
    assert seen["Erf"] == 0
    assert seen["BiasGelu"] == gelus(exports(name), role)


def fused(engine: Path, target: Path) -> Counter[str]:
    """Count the operators of the graph that ONNX Runtime makes of an engine for a CPU."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(engine), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(target, load_external_data=False).graph.node)


@pytest.mark.slow
def test_an_engine_without_the_order_is_not_fused_and_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the order decides about fusion, and it changes no answer."""
    model = lively_model(config_of(depth=2))
    image = model.downsample(images_for(model.config))
    paths = {}
    for name in ("ours", "torch"):
        if name == "torch":
            monkeypatch.setattr(graph, "reorder_gelus", lambda model: 0)
        paths[name] = tmp_path / f"{name}.onnx"
        paths[name].write_bytes(ir.to_proto(trace(EEStage(model))).SerializeToString())
    assert fused(paths["torch"], tmp_path / "torch_optimised.onnx")["Erf"] == 2
    assert fused(paths["ours"], tmp_path / "ours_optimised.onnx")["Erf"] == 0
    with torch.no_grad():
        expected = [value.numpy() for value in model.stage_one(image)]
    for path in paths.values():
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for output, wanted in zip(session.run(None, {"image": image.numpy()}), expected, strict=True):
            assert np.abs(output - wanted).max() <= 1e-4 * np.abs(wanted).max()
