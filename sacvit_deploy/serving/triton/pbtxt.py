"""Protocol buffers' text format, as far as a config.pbtxt needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, Union


class Name(str):
    """The name of an enum's value, which stands without quotes."""


Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = Union[Scalar, "Message", "Sequence[Scalar]", "Sequence[Message]"]  # sequences are lists
Message: TypeAlias = Mapping[str, Value]


def entries(values: Mapping[str, Value]) -> list[Message]:
    """Return a map field: one message with `key` and `value` for each entry."""
    return [{"key": key, "value": value} for key, value in values.items()]


def to_pbtxt(message: Message) -> str:
    """Write a message: fields in their order; a list is a repeated field, a mapping a message in braces."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for field, value in message.items():
        repeated: list[Any] = value if isinstance(value, list) else [value]
        for each in repeated:
            if isinstance(each, Mapping):
                yield f"{indent}{field} {{"
                yield from _lines(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{field}: {_scalar(each)}"


def _scalar(value: Scalar) -> str:
    if isinstance(value, Name):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)  # ASCII: escapes of other letters are the same in both formats
