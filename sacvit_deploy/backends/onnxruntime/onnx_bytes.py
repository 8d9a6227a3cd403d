"""Small ONNX models as protobuf, by hand: the runtime has no onnx package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array

ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float16": 10}  # of TensorProto
INT, INTS = 2, 7  # types of an attribute
IR_VERSION, OPSET = 8, 13


def graph(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], constants: Sequence[bytes] = ()
) -> bytes:
    """Return a model of nodes, with values from `tensor` and constants from `constant`."""
    parts = [_bytes(1, one) for one in nodes] + [_text(2, "graph")] + [_bytes(5, one) for one in constants]
    parts += [_bytes(11, one) for one in inputs] + [_bytes(12, one) for one in outputs]
    return _number(1, IR_VERSION) + _bytes(7, b"".join(parts)) + _bytes(8, _number(2, OPSET))


def node(operator: str, inputs: Sequence[str], output: str, attribute: bytes = b"") -> bytes:
    """Return a node with one output and at most one attribute."""
    parts = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator)
    return parts + (_bytes(5, attribute) if attribute else b"")


def integer(name: str, value: int) -> bytes:
    """Return an attribute that is a number from 0."""
    return _text(1, name) + _number(3, value) + _number(20, INT)


def integers(name: str, values: Sequence[int]) -> bytes:
    """Return an attribute that is a list of numbers from 0."""
    return _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, INTS)


def tensor(name: str, dtype: np.dtype[Any], shape: Sequence[int | str] | None = None) -> bytes:
    """Return an input or output; an open dimension has a name, and None leaves the whole shape open."""
    dimensions = b"" if shape is None else _bytes(2, b"".join(_bytes(1, _dimension(size)) for size in shape))
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, ELEMENT_TYPES[dtype.name]) + dimensions))


def constant(name: str, values: Array) -> bytes:
    """Return a tensor whose values stand in the model."""
    shape = b"".join(_number(1, size) for size in values.shape)
    return shape + _number(2, ELEMENT_TYPES[values.dtype.name]) + _text(8, name) + _bytes(9, values.tobytes())


def _dimension(size: int | str) -> bytes:
    return _number(1, size) if isinstance(size, int) else _text(2, size)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
