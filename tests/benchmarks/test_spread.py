"""Spreads, percentiles and ratios of repeated measurements."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.benchmarks.spread import percentile, ratio, spread_of, unsteadiness
from sacvit_deploy.errors import UsageError

TIMES = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=30)


@given(TIMES)
def test_spread_and_percentiles_are_of_what_was_measured(values: list[float]) -> None:
    found = spread_of(values)
    assert (found.low, found.high) == (min(values), max(values))
    assert found.median == statistics.median(values)
    for share in (0.0, 0.5, 0.95, 1.0):
        at = percentile(values, share)
        assert at in values
        assert sum(value <= at for value in values) >= share * len(values)
        assert sum(value < at for value in values) <= share * len(values)
    assert unsteadiness(values) >= 0
    assert unsteadiness([values[0]] * 3) == 0


@given(TIMES, st.floats(min_value=0.1, max_value=10))
def test_ratios_are_within_rounds(values: list[float], factor: float) -> None:
    found = ratio([factor * value for value in values], values)
    assert (found.low, found.median, found.high) == pytest.approx((factor,) * 3)


def test_no_spread_of_nothing() -> None:
    for values in ([], [float("nan")], [1.0, float("inf")]):
        with pytest.raises(UsageError):
            spread_of(values)
    with pytest.raises(UsageError):
        percentile([], 0.5)
