"""Strict JSON: what two readers could take for different things is refused, in one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.errors import UsageError
from sacvit_deploy.typed import LEVELS, flag, items, number, only, parse_json, text, whole

NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a": 1, "a": 2}', "'a' occurs more than once"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e999", "too large"),
        (b"1" * 5000, "too large"),
        (b"12345678901234567890", "too large"),
        (b'"\xff"', "not UTF-8"),
        ('"a"'.encode("utf-16"), "not UTF-8"),
        (b'["\\ud800"]', "no Unicode"),
        (b'{"\\udfff": 1}', "no Unicode"),
        (b"[" * 100_000, "deep"),
        (b"[" * (LEVELS + 1) + b"]" * (LEVELS + 1), "levels"),
        (b'{"a": 1,}', "line 1"),
        (b"", "line 1"),
    ],
)
def test_what_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        parse_json(raw)
    assert "\n" not in str(refusal.value)


def test_other_programs_files_may_hold_what_python_writes() -> None:
    assert parse_json('\ufeff{"a": 1, "a": 2}'.encode(), foreign=True) == {"a": 2}
    assert parse_json(b"[Infinity]", foreign=True) == [float("inf")]
    assert parse_json(b'["\\ud800"]', foreign=True) == parse_json(b'["\\ud800"]', halves=True) == ["\ud800"]
    with pytest.raises(ValueError, match="too large"):
        parse_json(b"1" * 5000, foreign=True)


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (whole, [True, 1.0, "1", None, -1, 1 << 60, [1]]),
        (number, [True, "1", None, float("nan"), float("inf"), 1e301, 10**400]),
        (flag, [0, 1, "true", None]),
        (text, [1, None, b"a", "a\0b", "a" * 100_000]),
        (lambda value, where: items(value, where, whole, 2), [(1,), "12", [1, 2, 3], [1, "2"], {"0": 1}]),
        (lambda value, where: only(value, ("a", "b"), where), [[], {"a": 1, "c": 2}, None]),
    ],
)
def test_other_types_are_refused_by_the_name_of_the_field(read: Any, bad: list[Any]) -> None:
    for value in bad:
        with pytest.raises(UsageError, match=r"the\.field") as refusal:
            read(value, "the.field")
        assert len(str(refusal.value)) < 200


def test_right_types_pass() -> None:
    assert whole(7, "x") == 7
    assert number(7, "x") == 7.0 and isinstance(number(7, "x"), float)
    assert flag(False, "x") is False
    assert text("é", "x") == "é"
    assert items([1, 2], "x", whole) == (1, 2)
    assert only({"a": 1}, ("a", "b"), "x") == {"a": 1}
