"""The walker over ONNX files against the onnx package, on files that name other files, and on damaged ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sacvit_deploy.bundle.external_weights import external_tensors, with_weights_inside
from sacvit_deploy.bundle.held import Held, hold
from sacvit_deploy.errors import BundleError
from tests.data.record import BEFORE

TYPES: tuple[Any, ...] = (
    np.float32,
    np.float16,
    np.int64,
    np.int32,
    np.int8,
    np.uint8,
    ml_dtypes.bfloat16,
)
NAME = "weights.fp32.bin"


def held(data: bytes, name: str = "ee.fp32.onnx") -> Held:
    return Held(Path(name), np.frombuffer(data, np.uint8))


def external(
    tensor: onnx.TensorProto, weights: bytearray, *, location: str = NAME, with_length: bool = True
) -> onnx.TensorProto:
    """Move a tensor's data to the end of the weights."""
    entries = {"location": location, "offset": str(len(weights)), "length": str(len(tensor.raw_data))}
    weights += tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key in entries if with_length else ("location", "offset"):
        tensor.external_data.add(key=key, value=entries[key])
    return tensor


def model_of(tensors: list[onnx.TensorProto], nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(nodes or [], "graph", [], [], tensors))


@st.composite
def models(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, np.ndarray], bytes]:
    """A model with tensors inside and outside, the values of those outside, and the weights file."""
    weights, tensors, outside = bytearray(), [], {}
    for number in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(TYPES))
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        values = np.random.default_rng(number).integers(0, 100, shape).astype(kind)
        tensor = numpy_helper.from_array(values, draw(st.text(max_size=5)) + str(number))
        if draw(st.booleans()):
            weights += bytes(draw(st.sampled_from([0, 1, 64])))  # also where its values lie askew
            tensor = external(tensor, weights, with_length=draw(st.booleans()))
            outside[tensor.name] = values
        tensors.append(tensor)
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.arange(3), "inside"))
    model = model_of(tensors, [node] if draw(st.booleans()) else [])
    return model, outside, bytes(weights)


@given(models())
def test_it_finds_what_onnx_finds(case: tuple[onnx.ModelProto, dict[str, np.ndarray], bytes]) -> None:
    model, outside, weights = case
    found = external_tensors(held(model.SerializeToString()), held(weights, NAME))
    assert [tensor.name for tensor in found] == list(outside)
    for tensor in found:
        assert tensor.element_type == helper.np_dtype_to_tensor_dtype(outside[tensor.name].dtype)
        assert tensor.values.shape == outside[tensor.name].shape
        assert tensor.values.tobytes() == outside[tensor.name].tobytes()


@given(models())
def test_weights_go_inside(case: tuple[onnx.ModelProto, dict[str, np.ndarray], bytes]) -> None:
    model, outside, weights = case
    whole = onnx.load_from_string(with_weights_inside(held(model.SerializeToString()), held(weights, NAME)))
    for tensor in model.graph.initializer:  # the same, but for the values
        if tensor.name in outside:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = outside[tensor.name].tobytes()
    assert whole == model


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("role", ["ee", "sac", "deit"])
def test_the_engines_of_a_bundle(precision: str, role: str) -> None:
    path, weights = BEFORE / f"{role}.{precision}.onnx", hold(BEFORE / f"weights.{precision}.bin")
    wanted = onnx.load(path)
    outside = {
        tensor.name for tensor in onnx.load(path, load_external_data=False).graph.initializer if tensor.external_data
    }
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in wanted.graph.initializer}
    found = external_tensors(hold(path), weights)
    assert {tensor.name for tensor in found} == outside
    for tensor in found:
        np.testing.assert_array_equal(tensor.values, values[tensor.name])
    whole = onnx.load_from_string(with_weights_inside(hold(path), weights))
    for tensor in whole.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), values[tensor.name])


# --- files that name what they may not

FOUR = np.arange(4, dtype=np.float32)


def outside(location: str = NAME) -> onnx.TensorProto:
    return external(numpy_helper.from_array(FOUR, "w"), bytearray(), location=location)


def refused(model: onnx.ModelProto, weights: Held | None) -> str:
    file = held(model.SerializeToString())
    messages = set()
    for read in (external_tensors, with_weights_inside):
        with pytest.raises(BundleError, match="ee.fp32.onnx") as said:
            read(file, weights)
        messages.add(str(said.value))
    assert len(messages) == 1
    return messages.pop()


@pytest.mark.parametrize(
    "location", ["weights.fp16.bin", "../weights.fp32.bin", "./weights.fp32.bin", "/etc/passwd", ""]
)
def test_another_file_is_refused(location: str) -> None:
    message = refused(model_of([outside(location)]), held(FOUR.tobytes(), NAME))
    assert repr(location) in message and "lists weights.fp32.bin" in message
    assert "lists none" in refused(model_of([outside()]), None)


def test_a_tensor_without_a_place_is_refused() -> None:
    tensor = numpy_helper.from_array(FOUR, "w")
    tensor.data_location = TensorProto.EXTERNAL
    assert "None" in refused(model_of([tensor]), held(FOUR.tobytes(), NAME))


@pytest.mark.parametrize(
    "entries",
    [{"offset": "1"}, {"offset": "-4"}, {"length": "12"}, {"length": "20"}, {"length": "-1"}, {"offset": "9" * 30}],
)
def test_places_outside_the_weights_are_refused(entries: dict[str, str]) -> None:
    tensor = outside()
    for entry in tensor.external_data:
        entry.value = entries.get(entry.key, entry.value)
    assert "outside weights.fp32.bin" in refused(model_of([tensor]), held(FOUR.tobytes(), NAME))


@pytest.mark.parametrize("shape", [[5], [-4], [2**62, 4], [2**63 - 1, 2**63 - 1]])
def test_shapes_that_do_not_fit_are_refused(shape: list[int]) -> None:
    tensor = outside()
    tensor.dims[:] = shape
    assert "outside weights.fp32.bin" in refused(model_of([tensor]), held(FOUR.tobytes(), NAME))


def test_other_elements_are_refused() -> None:
    tensor = outside()
    tensor.data_type = TensorProto.STRING
    assert "element type 8" in refused(model_of([tensor]), held(FOUR.tobytes(), NAME))


def in_an_attribute() -> onnx.ModelProto:
    return model_of([], [helper.make_node("Constant", [], ["c"], value=outside())])


def in_a_branch() -> onnx.ModelProto:
    branch = helper.make_graph([], "branch", [], [], [outside()])
    return model_of([], [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])


def deep_in_branches() -> onnx.ModelProto:
    graph = helper.make_graph(list(in_an_attribute().graph.node), "inmost", [], [])
    for _ in range(3):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=graph)], "outer", [], [])
    return helper.make_model(graph)


def in_a_function() -> onnx.ModelProto:
    function = helper.make_function("here", "f", [], ["c"], list(in_an_attribute().graph.node), [])
    model = model_of([])
    model.functions.append(function)
    return model


def in_sparse_weights() -> onnx.ModelProto:
    model = model_of([])
    model.graph.sparse_initializer.add().values.CopyFrom(outside())
    return model


def in_a_sparse_attribute() -> onnx.ModelProto:
    model = in_an_attribute()
    model.graph.node[0].attribute[0].sparse_tensor.values.CopyFrom(outside())
    model.graph.node[0].attribute[0].ClearField("t")
    return model


def in_training() -> onnx.ModelProto:
    model = model_of([])
    model.training_info.add().initialization.initializer.append(outside())
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (in_an_attribute, "inside a node"),
        (in_a_branch, "inside a node"),
        (deep_in_branches, "inside a node"),
        (in_a_function, "functions"),
        (in_sparse_weights, "sparse"),
        (in_a_sparse_attribute, "sparse"),
        (in_training, "training"),
    ],
)
def test_data_elsewhere_is_refused(make: Callable[[], onnx.ModelProto], reason: str) -> None:
    assert reason in refused(make(), held(FOUR.tobytes(), NAME))


def test_too_many_graphs_inside_one_another() -> None:
    graph = helper.make_graph([], "inmost", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=graph)], "outer", [], [])
    assert "too deeply" in refused(helper.make_model(graph), None)


# --- damaged files


def read_either_way(model: bytes, weights: Held) -> None:
    """Read a file, which must end well or in BundleError."""
    for read in (external_tensors, with_weights_inside):
        try:
            read(held(model), weights)
        except BundleError as error:
            assert "\n" not in str(error)


@given(
    models(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 9)
)
def test_changed_bytes(
    case: tuple[onnx.ModelProto, dict[str, np.ndarray], bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    model, _, weights = case
    raw = bytearray(model.SerializeToString())
    for at, value in changes:
        raw[at % len(raw)] = value
    read_either_way(bytes(raw[: len(raw) - cut % len(raw)]), held(weights, NAME))


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    read_either_way(raw, held(bytes(64), NAME))


@given(st.data())
def test_changed_bytes_of_an_engine(data: st.DataObject) -> None:
    raw = bytearray((BEFORE / "ee.fp32.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_either_way(bytes(raw), hold(BEFORE / "weights.fp32.bin"))


@pytest.mark.parametrize(
    "raw", [b"\x80" * 12, b"\x3a\xff\xff\xff\xff\x7f", b"\x3a\x02\x2b\x00", b"\x02\x00", b"\x98\x80\x80\x80\x20\x00"]
)
def test_bytes_that_are_no_onnx_file(raw: bytes) -> None:
    with pytest.raises(BundleError, match="is no ONNX file"):
        external_tensors(held(raw), None)
