"""The tensors of an ONNX file that lie in a weights file, found without the onnx package.

The runtime passes them to its library itself, from memory. So no library opens a file that the ONNX file names, and an
ONNX file that names any other than the bundle's weights is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.bundle.held import Held
from sacvit_deploy.bundle.protobuf import BYTES, Chunks, copy, encode, fields, inner, numbers
from sacvit_deploy.errors import BundleError

# Field numbers of onnx.proto, from the model down to its tensors.
GRAPH, TRAINING, FUNCTIONS = 7, 20, 25
NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15
ATTRIBUTE, TENSORS, GRAPHS, SPARSE_TENSORS = 5, (5, 10), (6, 11), (22, 23)
DIMS, TYPE, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 8, 9, 13, 14
KEY, VALUE = 1, 2
DEPTH = 16  # of graphs inside attributes; ours have none

# Element types of weights by ONNX's number; numpy has no bfloat16, so its bits travel as whole numbers.
BFLOAT16 = 16
ELEMENTS: dict[int, Any] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    10: np.float16,
    BFLOAT16: np.uint16,
}


class ExternalTensor(NamedTuple):
    """A tensor's name, its ONNX element type, and its values, which lie in the weights' bytes."""

    name: str
    element_type: int
    values: Array


def external_tensors(model: Held, weights: Held | None) -> list[ExternalTensor]:
    """Return the tensors of an ONNX file that lie in the weights file.

    Raises BundleError for what is no ONNX file, and for one that names another file or a place outside the weights.
    """
    with _refusing(model):
        raw = model.data.data
        _check_elsewhere(raw, str(model.path))
        initializers = [tensor for graph in inner(raw, GRAPH) for tensor in inner(graph, INITIALIZER)]
        found = [_tensor(content, str(model.path), weights) for content in initializers]
    return [tensor for tensor in found if tensor is not None]


def with_weights_inside(model: Held, weights: Held | None) -> bytes:
    """Return an ONNX file with the weights written into it, for a library that takes them no other way.

    Raises BundleError, as `external_tensors`.
    """
    with _refusing(model):
        raw = model.data.data
        _check_elsewhere(raw, str(model.path))
        chunks: list[bytes | memoryview] = []
        for field in fields(raw):
            whole = field.number != GRAPH
            chunks += copy(field) if whole else encode(GRAPH, _filled(field.content, str(model.path), weights))
    return b"".join(chunks)


@contextlib.contextmanager
def _refusing(model: Held) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{model.path} is no ONNX file ({error}); export the bundle again") from error


def _filled(graph: memoryview, name: str, weights: Held | None) -> Chunks:
    """Return the fields of a graph, with the values of its external tensors in them."""
    chunks: list[bytes | memoryview] = []
    for field in fields(graph):
        tensor = _tensor(field.content, name, weights) if field.number == INITIALIZER else None
        if tensor is None:
            chunks += copy(field)
            continue
        kept = [copy(item) for item in fields(field.content) if item.number not in (EXTERNAL, LOCATION)]
        raw = encode(RAW, [tensor.values.reshape(-1).view(np.uint8).data])
        chunks += encode(INITIALIZER, list(itertools.chain(*kept, raw)))
    return chunks


def _tensor(message: memoryview, model: str, weights: Held | None) -> ExternalTensor | None:
    """Return a tensor with its values, None where they are in the ONNX file. Raises BundleError, ValueError."""
    shape: list[int] = []
    kind, name, external = 0, "", False
    places: dict[str, str] = {}
    for field in fields(message):
        if field.number == DIMS:
            shape += numbers(field)
        elif field.number == TYPE:
            kind = field.value
        elif field.number == NAME:
            name = bytes(field.content).decode()
        elif field.number == LOCATION:
            external = field.value != 0
        elif field.number == EXTERNAL:
            entry = {item.number: bytes(item.content).decode() for item in fields(field.content)}
            places[entry.get(KEY, "")] = entry.get(VALUE, "")
    if not external and not places:
        return None
    location = places.get("location")
    if weights is None or location != weights.name:
        listed = "none" if weights is None else weights.name
        raise BundleError(
            f"{model} reads weights from {location!r:.60}, where the bundle lists {listed}; export the bundle again"
        )
    if kind not in ELEMENTS:
        raise BundleError(f"{model}: `{name:.60}` has ONNX's element type {kind}, which no engine of ours has")
    element = np.dtype(ELEMENTS[kind])
    offset, nbytes = int(places.get("offset", 0)), math.prod(shape) * element.itemsize
    if int(places.get("length", nbytes)) != nbytes or not 0 <= offset <= len(weights.data) - nbytes:
        raise BundleError(f"{model} reads `{name:.60}` from outside {weights.name}; export the bundle again")
    values = weights.data[offset : offset + nbytes].view(element).reshape(shape)
    return ExternalTensor(name, kind, np.require(values, requirements="A"))  # a copy where it lies askew


def _check_elsewhere(model: memoryview, name: str) -> None:
    """Raise BundleError where anything but an initializer of the main graph may have its data in a file."""
    for field in fields(model):
        if field.number in (TRAINING, FUNCTIONS):
            raise BundleError(f"{name} has functions or training steps, which no engine of ours has")
    for graph in inner(model, GRAPH):
        _check_graph(graph, name, 0)


def _check_graph(graph: memoryview, name: str, depth: int) -> None:
    """Check the nodes of a graph, and the initializers of those inside it. Raises BundleError, ValueError."""
    if depth > DEPTH:
        raise ValueError("graphs are nested too deeply")
    for field in fields(graph):
        if field.number == SPARSE_INITIALIZER:
            raise BundleError(f"{name} has sparse weights, which no engine of ours has")
        if field.number == INITIALIZER and depth and field.kind == BYTES:
            _check_inside(field.content, name)
        if field.number != NODE or field.kind != BYTES:
            continue
        for attribute in inner(field.content, ATTRIBUTE):
            for part in fields(attribute):
                if part.number in SPARSE_TENSORS:
                    raise BundleError(f"{name} has sparse weights, which no engine of ours has")
                if part.number in TENSORS and part.kind == BYTES:
                    _check_inside(part.content, name)
                elif part.number in GRAPHS and part.kind == BYTES:
                    _check_graph(part.content, name, depth + 1)


def _check_inside(tensor: memoryview, name: str) -> None:
    """Raise BundleError unless a tensor's data is in the ONNX file."""
    if any(item.number == EXTERNAL or (item.number == LOCATION and item.value) for item in fields(tensor)):
        raise BundleError(f"{name} has external data inside a node; export the bundle again")
