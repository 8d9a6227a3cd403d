"""Strict reading of JSON that anybody may have written: what is not exactly as expected is refused, in one sentence.

C++ reads the same files with types of its own, so neither runtime may take what the other refuses: an integer is no
float and no boolean, a key occurs once, a text is Unicode.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn, TypeVar

from sacvit_deploy.errors import UsageError

T = TypeVar("T")
LEVELS = 64  # of lists and objects inside each other; deeper ones exhaust the stack of whoever writes them again
DIGITS = 19  # of an integer: 63 bits, as C++ has them
FLOAT_LIMIT = 1e300  # beyond it products overflow
TEXT_LIMIT = 65_536  # characters
CHANNELS, WORD = 3, 64  # of a config's fields: numbers in a list, characters in a word


def parse_json(raw: bytes | str, *, foreign: bool = False, halves: bool = False) -> Any:
    """Parse UTF-8 JSON. Raises ValueError, whose text says what is wrong.

    foreign: other programs' files may repeat keys and hold NaN and infinity. halves: texts may hold half of a surrogate
    pair, because whoever reads them names the text that does; so may those of foreign files.
    """
    hooks: dict[str, Any] = {"parse_int": _integer}
    if not foreign:
        hooks |= {"parse_float": _finite, "parse_constant": _no_constant, "object_pairs_hook": _without_repeats}
    try:
        data = json.loads(raw.decode("utf-8-sig" if foreign else "utf-8") if isinstance(raw, bytes) else raw, **hooks)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: byte {error.start}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply") from error
    _check_tree(data, texts=not (foreign or halves))
    return data


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise ValueError(f"the integer {text[:24]}... is too large")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:24]} is too large")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated!r:.80} occurs more than once")
    return data


def _check_tree(data: Any, *, texts: bool) -> None:
    """Raise ValueError for too many levels and, in `texts`, halves of surrogate pairs, which no file can hold."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > LEVELS:
            raise ValueError(f"it is nested more than {LEVELS} levels deep")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str) and texts:
                _check_text(item)
            elif isinstance(item, dict):
                for key in item if texts else ():
                    _check_text(key)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"the text {text!r:.80} is no Unicode")


def wrong(where: str, value: Any, expected: str) -> UsageError:
    """Make the error for a value that is not what it should be."""
    return UsageError(f"{where} can't be {value!r:.80}; it must be {expected}")


def field(data: Mapping[str, Any], name: str, where: str = "") -> Any:
    """Return a field that must be there. Raises UsageError."""
    if name not in data:
        raise UsageError(f"{where}{name} is missing")
    return data[name]


def whole(value: Any, where: str, low: int = 0, high: int = 1 << 50) -> int:
    """Return an integer from `low` to `high`; a float or a boolean is none. Raises UsageError."""
    if type(value) is not int or not low <= value <= high:
        raise wrong(where, value, f"a whole number from {low:,} to {high:,}")
    return value


def number(value: Any, where: str) -> float:
    """Return a finite number as a float. Raises UsageError."""
    if type(value) not in (int, float) or not abs(value) < FLOAT_LIMIT:  # NaN is not below it either
        raise wrong(where, value, "a finite number")
    return float(value)


def flag(value: Any, where: str) -> bool:
    """Return a boolean. Raises UsageError."""
    if type(value) is not bool:
        raise wrong(where, value, "true or false")
    return value


def text(value: Any, where: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text of up to `limit` characters, none of them NUL, where C would end it. Raises UsageError."""
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise wrong(where, value, f"a text of up to {limit:,} characters")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return an object. Raises UsageError."""
    if not isinstance(value, dict):
        raise wrong(where, value, "an object")
    return value


def only(value: Any, names: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return an object that has no other fields than `names`. Raises UsageError."""
    data = mapping(value, where)
    if unknown := sorted(set(data) - set(names)):
        raise UsageError(f"{where}.{unknown[0]!r:.80} is unknown")
    return data


def items(value: Any, where: str, read: Callable[[Any, str], T], limit: int = 1 << 16) -> tuple[T, ...]:
    """Return a list's items, each as `read` returns it. Raises UsageError."""
    if not isinstance(value, list) or len(value) > limit:
        raise wrong(where, value, f"a list of up to {limit:,} items")
    return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))


def convert(where: str, kind: Any, value: Any) -> Any:
    """Return a JSON value as a field's type: objects as dataclasses, integers as floats, lists as tuples.

    Raises UsageError for unknown fields, and what the dataclasses raise.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be an object")
        hints = typing.get_type_hints(kind)
        unknown = [str(name) for name in value if name not in hints]
        if unknown:
            raise UsageError(f"{where}.{min(unknown)[:80]} is unknown")
        return kind(**{name: convert(f"{where}.{name}", hints[name], item) for name, item in value.items()})
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)) and len(value) <= CHANNELS:
        return tuple(number(item, where) for item in value)
    if typing.get_origin(kind) is Literal or kind is str:  # its dataclass checks which words are allowed
        return text(value, where, WORD)
    if kind is float:
        return number(value, where)
    if kind is bool:
        return flag(value, where)
    if kind == int | None and value is None:
        return None
    if kind in (int, int | None):
        return whole(value, where, -(1 << 31), 1 << 31)
    raise wrong(where, value, "another value")
