"""Numbers out of repeated measurements: medians with their spread, percentiles, ratios of rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sacvit_deploy.errors import UsageError


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the smallest and the largest of them: the spread that is stated everywhere."""

    median: float
    low: float
    high: float

    def overlaps(self, other: Spread) -> bool:
        """Whether some round of one lies within the rounds of the other."""
        return self.low <= other.high and other.low <= self.high


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum of at least one finite number. Raises UsageError for none, NaN or infinity."""
    if not values or not all(map(math.isfinite, values)):
        raise UsageError(f"no spread of {len(values)} values, or of values that are no numbers")
    return Spread(statistics.median(values), min(values), max(values))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times `fast` is faster, round by round: what slows a whole round slows both of it."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie: the nearest that was measured, none made up between."""
    if not values:
        raise UsageError("no percentile of nothing")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def unsteadiness(values: Sequence[float]) -> float:
    """Distance of the quartiles over the median: 0 where all rounds took the same, 1 where nothing is known yet."""
    if len(values) < 2:
        return 1.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 1.0
