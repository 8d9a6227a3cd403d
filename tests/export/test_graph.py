"""The ONNX files themselves: contract, precision, operators, weights stored once."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

import sacvit_deploy
from sacvit_deploy.export.graph import TRIED_TORCH, reshape_target, untried_torch
from sacvit_deploy.export.modules import halve

from .conftest import VARIANTS, Exported

Export = Callable[[str], Exported]
FLOATS = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
# Refused by TensorRT, slow on a GPU, or a sign of a shape that was not made fixed.
UNWANTED = {
    "NonZero", "ScatterND", "ScatterElements", "GatherElements", "Resize", "Loop", "If", "Scan", "Where", "TopK",
    "ConstantOfShape", "Range", "Conv", "Einsum", "Attention", "Identity", "Dropout", "RandomNormal",
}  # fmt: skip

engines = pytest.mark.parametrize(
    ("name", "precision", "role"),
    [(name, precision, role) for (name, precision), role in itertools.product(VARIANTS, ("ee", "sac"))],
)
variants = pytest.mark.parametrize(("name", "precision"), VARIANTS)


def load(path: Path, *, weights: bool = False) -> onnx.ModelProto:
    return onnx.load(str(path), load_external_data=weights)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Infer the element type of every value from the inputs, ignoring the types in the file."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    values = [*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info]
    types_by_name = {value.name: value.type.tensor_type.elem_type for value in values}
    return types_by_name | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def signature(values: object) -> dict[str, tuple[int, list[str | int]]]:
    out = {}
    for value in values:  # type: ignore[attr-defined]
        tensor = value.type.tensor_type
        out[value.name] = (tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim])
    return out


@engines
def test_the_onnx_checker_accepts_the_file(name: str, precision: str, role: str, exports: Export) -> None:
    onnx.checker.check_model(str(exports(name).file(role, precision)), full_check=True)


@engines
def test_opset_and_ir_version_suit_jetpack_6(name: str, precision: str, role: str, exports: Export) -> None:
    model = load(exports(name).file(role, precision))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version == 9
    assert not model.functions


@variants
def test_the_ee_engine_keeps_the_contract(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    geometry, kind = exported.config.geometry, FLOATS[precision]
    graph = load(exported.file("ee", precision)).graph
    half, tokens = geometry.image_size // 2, geometry.tokens
    assert signature(graph.input) == {"image": (kind, ["batch", 3, half, half])}
    expected = {
        "logits": (TensorProto.FLOAT, ["batch", geometry.classes]),
        "scores": (TensorProto.FLOAT, ["batch", tokens]),
        "features": (kind, ["batch", tokens, geometry.width]),
        "embeddings": (kind, ["batch", tokens, geometry.width]),
    }
    assert signature(graph.output) == expected
    assert [value.name for value in graph.output] == list(expected)


@variants
def test_the_sac_engine_keeps_the_contract(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    geometry, kind = exported.config.geometry, FLOATS[precision]
    graph = load(exported.file("sac", precision)).graph
    expected = {
        "patches": (kind, ["batch", "4*targets", 3 * geometry.patch_size**2]),
        "positions": (TensorProto.INT64, ["batch", "4*targets"]),
        "target_features": (kind, ["batch", "targets", geometry.width]),
        "background": (kind, ["batch", "background", geometry.width]),
    }
    assert signature(graph.input) == expected
    assert [value.name for value in graph.input] == list(expected)
    assert signature(graph.output) == {"logits": (TensorProto.FLOAT, ["batch", geometry.classes])}


@engines
def test_operators_are_plain_and_shapes_fixed(name: str, precision: str, role: str, exports: Export) -> None:
    graph = load(exports(name).file(role, precision)).graph
    operators = Counter(node.op_type for node in graph.node)
    assert not UNWANTED & set(operators)
    assert {node.domain for node in graph.node} == {""}
    assert operators["Shape"] <= 2
    blocks = exports(name).config.geometry.depth
    attentions = blocks * (1 if role == "ee" else len(cluster_queries(exports(name))))
    assert operators["Softmax"] == attentions
    assert operators["Erf"] == blocks + (role == "sac" and exports(name).config.method.fusion != "none")
    fixed = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape":
            assert node.input[1] in fixed, f"{node.name} has a computed shape"


def cluster_queries(exported: Exported) -> list[str]:
    """Name the attentions of one stage-2 block."""
    method = exported.config.method
    if method.attention == "global":
        return ["all"]
    return ["targets", "background"] + (["class token"] if method.class_token == "union" else [])


@engines
def test_every_value_a_node_reads_is_used_and_every_weight_needed(
    name: str, precision: str, role: str, exports: Export
) -> None:
    graph = load(exports(name).file(role, precision)).graph
    read = {value for node in graph.node for value in node.input}
    assert {tensor.name for tensor in graph.initializer} <= read
    made = {value for node in graph.node for value in node.output if value}
    assert made <= read | {value.name for value in graph.output}


@pytest.mark.parametrize("role", ["ee", "sac"])
@pytest.mark.parametrize("name", ["plain", "deit"])
def test_half_precision_stands_where_it_is_safe(name: str, role: str, exports: Export) -> None:
    model = load(exports(name).file(role, "fp16"))
    kind = types(model)
    seen = Counter()
    for node in model.graph.node:
        inputs = [kind[value] for value in node.input]
        if node.op_type == "MatMul":
            assert inputs == [TensorProto.FLOAT16] * 2, node.name
        elif node.op_type in ("LayerNormalization", "Softmax", "Gemm", "ReduceMean"):
            # Gemm is the classifier, ReduceMean the mean over heads of the scores.
            assert inputs[0] == TensorProto.FLOAT, node.name
            assert all(value in (TensorProto.FLOAT, TensorProto.INT64) for value in inputs), node.name
            assert kind[node.output[0]] == TensorProto.FLOAT, node.name
        seen[node.op_type] += 1
    assert seen["MatMul"] > 8
    assert seen["LayerNormalization"] >= 5
    assert seen["Softmax"] >= 2
    assert seen["Gemm"] == 1


@pytest.mark.parametrize("name", ["plain", "deit"])
def test_half_weights_are_the_rounded_weights_of_the_checkpoint(name: str, exports: Export) -> None:
    assert_weights(exports(name), "fp16")


@pytest.mark.parametrize("name", ["plain", "cf-vit-288", "union-features-expand"])
def test_weights_are_those_of_the_checkpoint_and_bear_their_names(name: str, exports: Export) -> None:
    assert_weights(exports(name), "fp32")


def assert_weights(exported: Exported, precision: str) -> None:
    model = halve(exported.model) if precision == "fp16" else exported.model
    expected = {}
    for key, value in model.state_dict().items():
        flat = value.flatten(1) if key == "patch_embed.proj.weight" else value
        expected[key], expected[f"{key}.T"] = flat.numpy(), flat.numpy().T
    named = set()
    for role in ("ee", "sac"):
        for tensor in load(exported.file(role, precision), weights=True).graph.initializer:
            if tensor.name in expected:
                assert np.array_equal(onnx.numpy_helper.to_array(tensor), expected[tensor.name]), tensor.name
                named.add(tensor.name.removesuffix(".T"))
    nameless = {key for key in model.state_dict() if key not in named}
    # Added up or cut to pieces while constants were folded.
    attention = {key for key in nameless if key.endswith((".attn.qkv.bias", ".attn.proj.bias"))}
    assert nameless - attention <= {"cls_token", "pos_embed", "pos_embed_list.0", "pos_embed_list.1"}


@variants
def test_all_engines_point_into_one_weights_file(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    weights = exported.file("weights", precision)
    size = weights.stat().st_size
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    engines = ("ee", "sac", "deit", *(role for role in exported.bundle.variant(precision).files if "-gpu" in role))
    for role in engines:
        ranges[role] = {}
        for tensor in load(exported.file(role, precision)).graph.initializer:
            location = {entry.key: entry.value for entry in tensor.external_data}
            if not location:
                assert len(tensor.raw_data) < 1024, f"{tensor.name} should stand in the weights file"
                continue
            assert location["location"] == weights.name
            offset, length = int(location["offset"]), int(location["length"])
            assert offset % (4096 if length >= 4096 else 64) == 0
            assert offset + length <= size
            ranges[role][tensor.name] = (offset, length)
    # Names beside the checkpoint's are the tracer's, and mean something else in each file.
    weighty = {name for key in exported.model.state_dict() for name in (key, f"{key}.T")}
    both = set(ranges["ee"]) & set(ranges["sac"]) & weighty
    assert all(ranges["ee"][tensor] == ranges["sac"][tensor] for tensor in both)
    # All blocks, the patch embedding and the classifier serve both stages, and the baseline.
    layers = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}
    blocks = range(exported.config.geometry.depth)
    shared = {f"blocks.{block}.{layer}.weight.T" for block in blocks for layer in layers}
    assert shared | {"patch_embed.proj.weight.T", "head.weight"} <= both
    assert all(ranges[role][name] == ranges["ee"][name] for name in shared for role in engines)
    # No two tensors overlap, and nothing but alignment lies between them.
    places = sorted({place for tensors in ranges.values() for place in tensors.values()})
    assert all(start + length <= after for (start, length), (after, _) in itertools.pairwise(places))
    assert size <= sum(length for _, length in places) + 4096 * len(places)
    contents = weights.read_bytes()
    blobs = [contents[start : start + length] for start, length in places]
    assert len(set(blobs)) == len(blobs)


def test_the_fp32_files_are_hardly_larger_than_one_copy_of_the_weights(plain: Exported) -> None:
    copy = sum(value.numel() * 4 for value in plain.model.state_dict().values())
    files = sum(plain.file(role, "fp32").stat().st_size for role in ("ee", "sac", "deit", "weights"))
    assert files <= 1.1 * copy
    half = sum(plain.file(role, "fp16").stat().st_size for role in ("ee", "sac", "deit", "weights"))
    assert half <= 0.65 * copy


def strings(message: object) -> Iterator[str]:
    """Yield all text in a protobuf message."""
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        for item in value if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else [value]:
            if isinstance(item, str):
                yield item
            elif isinstance(item, bytes) and field.name != "raw_data":
                yield item.decode("latin-1")
            elif hasattr(item, "ListFields"):
                yield from strings(item)


@engines
def test_metadata_stays_out_of_the_onnx_file(name: str, precision: str, role: str, exports: Export) -> None:
    model = load(exports(name).file(role, precision))
    assert (model.producer_name, model.producer_version, model.doc_string) == ("sacvit-deploy", "", "")
    assert not model.metadata_props
    assert not model.graph.metadata_props
    assert not model.graph.doc_string
    for item in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]:
        assert not item.metadata_props
        assert not item.doc_string
    assert not [text for text in strings(model) if "/" in text or "\\" in text or ".py" in text]


@pytest.mark.parametrize("name", ["plain", "cf-vit-288"])
def test_no_file_of_the_bundle_names_a_folder_of_this_machine(name: str, exports: Export) -> None:
    exported = exports(name)
    package = Path(sacvit_deploy.__file__).resolve().parent
    folders = {Path.home(), Path.cwd(), exported.checkpoint.parent, package.parent, Path(torch.__file__).parents[1]}
    names = {str(folder) for folder in folders if len(folder.parts) > 1}
    names |= {f"{tempfile.gettempdir()}/", "site-packages"}
    for path in exported.bundle.path.iterdir():
        contents = path.read_bytes()
        assert not [folder for folder in names if folder.encode() in contents], path.name


# Reshapes.


@pytest.mark.parametrize(
    ("source", "result", "target"),
    [
        ([2, 3], [6], [6]),
        (["b", 49, 64], ["b", 49, 1, 64], [0, 49, 1, 64]),
        (["b", "4*m", 64], ["b", "m", 4, 64], [0, -1, 4, 64]),
        (["b", "m", 4, 64], ["b", "4*m", 64], [0, -1, 64]),
        (["b", "t", 64], ["t", "b", 64], None),
        (["b", "t"], ["b*t"], [-1]),
        ([5, "t"], ["t", 5], [-1, 5]),
        (["b"], ["b", 1], [0, 1]),
        ([1, "b"], ["b", 1], [-1, 1]),
        ([None, 3], ["b", 3], [-1, 3]),
    ],
)
def test_reshape_target(source: list[object], result: list[object], target: list[int] | None) -> None:
    assert reshape_target(source, result) == target


@given(
    st.lists(st.sampled_from([1, 2, 3, "b", "t"]), min_size=1, max_size=4),
    st.permutations(range(4)),
    st.integers(0, 3),
    st.fixed_dictionaries({"b": st.integers(1, 5), "t": st.integers(1, 5)}),
)
def test_a_reshape_target_means_the_same_for_every_size(
    source: list[object], order: list[int], split: int, sizes: dict[str, int]
) -> None:
    """The constant gives the computed shape for all sizes of the open dimensions."""
    result = [source[at] for at in order if at < len(source)]
    result.insert(min(split, len(result)), 1)
    target = reshape_target(source, result)
    if target is None:
        return
    shape = [size if isinstance(size, int) else sizes[str(size)] for size in source]
    wanted = [size if isinstance(size, int) else sizes[str(size)] for size in result]
    # ONNX: 0 copies the input's dimension in that place, -1 takes what is left.
    filled = [shape[index] if value == 0 else value for index, value in enumerate(target)]
    assert list(np.zeros(shape).reshape(filled).shape) == wanted


@pytest.mark.parametrize("version", ["2.9.0", "2.13.0+cpu", "2.14.1+cu130", torch.__version__])
def test_a_tried_torch_is_not_remarked_on(version: str) -> None:
    assert untried_torch(version) is None


@pytest.mark.parametrize("version", ["2.1.4", "2.12.1", "2.140.0", "2.15.0.dev20270101", "3.9.0"])
def test_an_untried_torch_is_named_beside_the_tried(version: str) -> None:
    note = untried_torch(version)
    assert note is not None and note.startswith(f"torch {version} has not been tried")
    assert all(tried in note for tried in TRIED_TORCH) and note.endswith("parity decides")
