"""Protobuf messages as fields, read and written without a schema or a library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MOST = (1 << 29) - 1  # the largest field number; some readers would cut a larger one down to another
Chunks: TypeAlias = Sequence[bytes | memoryview]  # bytes in parts, joined once


class Field(NamedTuple):
    """A field of a message: number, wire type, a varint's value, the bytes of anything else."""

    number: int
    kind: int
    value: int
    content: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message. Raises ValueError where it is none."""
    at, size = 0, len(message)
    while at < size:
        key, start = _varint(message, at)
        number, kind, value = key >> 3, key & 7, 0
        if not 1 <= number <= MOST:
            raise ValueError(f"a field's number is {number}")
        if kind == VARINT:
            value, stop = _varint(message, start)
        elif kind == BYTES:
            length, start = _varint(message, start)
            stop = start + length
        elif kind in (FIXED64, FIXED32):
            stop = start + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if stop > size:
            raise ValueError("it ends too early")
        at = stop
        yield Field(number, kind, value, message[start:stop])


def inner(message: memoryview, *numbers: int) -> Iterator[memoryview]:
    """Yield the messages in the fields of these numbers. Raises ValueError."""
    for field in fields(message):
        if field.number in numbers:
            if field.kind != BYTES:
                raise ValueError(f"field {field.number} is no message")
            yield field.content


def numbers(field: Field) -> Iterator[int]:
    """Yield the values of a repeated integer's field, packed or not. Raises ValueError."""
    if field.kind == VARINT:
        yield field.value
        return
    at = 0
    while at < len(field.content):
        value, at = _varint(field.content, at)
        yield value


def encode(number: int, content: Chunks) -> list[bytes | memoryview]:
    """Write a field that holds bytes or a message."""
    size = sum(len(chunk) for chunk in content)
    return [_encoded(number << 3 | BYTES) + _encoded(size), *content]


def copy(field: Field) -> list[bytes | memoryview]:
    """Write a field as it was read."""
    if field.kind == BYTES:
        return encode(field.number, [field.content])
    return [_encoded(field.number << 3 | field.kind), field.content]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number; returns it and the place after it. Raises ValueError."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends too early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
