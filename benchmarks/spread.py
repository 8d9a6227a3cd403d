"""Statistics of repeated measurements: medians with their spread, percentiles, ratios within rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sacvit_deploy.errors import UsageError


@dataclass(frozen=True)
class Spread:
    """Median of the rounds, with the smallest and the largest."""

    median: float
    low: float
    high: float


def spread_of(values: Sequence[float]) -> Spread:
    """Summarise at least one finite number. Raises UsageError for none, NaN or infinity."""
    if not values or not all(map(math.isfinite, values)):
        raise UsageError(f"no spread of {len(values)} values, or of values that are no numbers")
    return Spread(statistics.median(values), min(values), max(values))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """Divide round by round, so that a disturbance of a whole round cancels: above 1 where `fast` is faster."""
    return spread_of([a / b for a, b in zip(slow, fast, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value with at least `share` (0 to 1) of the values at or below it; no interpolation."""
    if not values:
        raise UsageError("no percentile of nothing")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def unsteadiness(values: Sequence[float]) -> float:
    """Divide the distance of the quartiles by the median: 0 where all rounds agree, 1 for a single round."""
    if len(values) < 2:
        return 1.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 1.0
