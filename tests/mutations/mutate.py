"""Ways to damage bytes and to forge JSON, all drawn from one random generator, so that a case can be repeated."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

_DIGEST = re.compile(rb'("digest": ?"sha256:)[0-9a-f]{64}"')


def damaged(raw: bytes, random: Random) -> bytes:
    """Return bytes with one to four changes: flipped bits, bytes cut out, doubled, moved or overwritten, a cut end."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(DAMAGES)(data, random)
    return bytes(data)


def _span(data: bytearray, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 8, 64, 512)))


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _cut_end(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _cut_out(data: bytearray, random: Random) -> None:
    start, end = _span(data, random)
    del data[start:end]


def _splice(data: bytearray, random: Random) -> None:
    start, end = _span(data, random)
    at = random.randrange(len(data) + 1)
    data[at:at] = data[start:end]


def _overwrite(data: bytearray, random: Random) -> None:
    start, end = _span(data, random)
    data[start:end] = random.choice(
        (bytes(end - start), b"\xff" * (end - start), random.randbytes(end - start), b"\x7f\xff\xff\xff")
    )


def _digits(data: bytearray, random: Random) -> None:
    """Change a number written in digits: headers and JSON are full of them."""
    found = list(re.finditer(rb"[0-9]+", data[:65536]))
    if found:
        start, end = random.choice(found).span()
        data[start:end] = random.choice((b"0", b"-1", b"1e999", b"9" * 25, b"4294967296", b"1.5", b"65535"))


DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (_flip, _cut_end, _cut_out, _splice, _overwrite, _digits)

# What a forger may write in place of any value.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    0.0,
    -0.0,
    0.5,
    1.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "fp16",
    "fp32",
    "../outside",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "\x1b[2J\x07",
    "\u202e",
    "a\nError: b",
    "0" * 64,
    "y" * 100_000,
    [],
    {},
    [[]],
    [1, 2, 3],
    [0.5, 0.5, 0.5],
    ["a"],
    {"a": 1},
    {"path": "labels.txt", "sha256": "0" * 64, "bytes": 1},
)


def forged(data: Any, random: Random) -> Any:
    """Return JSON data with one to three changes: values replaced, fields removed, added, renamed or exchanged."""
    data = copy.deepcopy(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        _forge_once(data, random)
    return data


def _forge_once(data: Any, random: Random) -> None:
    places = list(_places(data))
    if not places:
        return
    container, key = random.choice(places)
    kind = random.randrange(8)
    if kind < 4:
        container[key] = _other(container[key], random)
    elif kind == 4:
        del container[key]
    elif kind == 5:
        other, there = random.choice(places)
        container[key] = copy.deepcopy(other[there])
    elif isinstance(container, dict):
        name = random.choice(
            ("unknown", "", key.upper(), f"{key} ", "k" * 9999, "digest", "\ud800", "__class__", "a\0")
        )
        container[name] = container.pop(key) if kind == 6 else copy.deepcopy(container[key])
    else:
        container.extend(copy.deepcopy(container) * random.choice((1, 3)))


def _other(value: Any, random: Random) -> Any:
    """Return another value, often one that is nearly right."""
    near = random.random() < 0.4
    if near and type(value) is int and abs(value) < 2**64:  # larger ones are no floats
        return random.choice((value + 1, value - 1, -value, value * 2, float(value), str(value), value << 20))
    if near and type(value) is float:
        return random.choice((-value, value * 1e-9, value * 1e9, str(value), value + 1, round(value, 1)))
    if near and isinstance(value, str):
        return random.choice((value + "x", value[:-1], value.upper(), value * 2, [value]))
    if near and isinstance(value, list):
        return random.choice((value[:-1], value * 2, value[::-1], [value]))
    deep: Any = copy.deepcopy(random.choice(VALUES))  # it may be changed again, and VALUES are every case's
    for _ in range(random.choice((0, 0, 0, 0, 5, 70, 150))):
        deep = [deep] if random.random() < 0.5 else {"a": deep}
    return deep


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Give every value inside, as its container and key."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def written(data: Any) -> bytes:
    """Write JSON as nobody's library would: NaN, halves of surrogates and all."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")


def resealed(raw: bytes) -> bytes:
    """Return a sealed file with the digest that fits its content, if it has one at all."""
    found = _DIGEST.search(raw)
    if found is None:
        return raw
    start = found.end(1)
    empty = raw[:start] + b"0" * 64 + raw[start + 64 :]
    return raw[:start] + hashlib.sha256(empty).hexdigest().encode() + raw[start + 64 :]
