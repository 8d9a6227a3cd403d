"""Measured seconds of the steps, and what a picture costs at any continue fraction."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchTimes:
    """Seconds of one batch: stage 1 with its glue for all pictures, stage 2 with its glue by alpha, the plain DeiT."""

    size: int
    ee: float
    ee_glue: float
    sac: Mapping[float, float]
    sac_glue: Mapping[float, float]
    deit: float | None

    def cascade(self, alpha: float, continue_fraction: float) -> float:
        """Seconds a picture when that share continues. Stage 2 runs on full batches, as the scheduler fills them."""
        again = self.sac[alpha] + self.sac_glue[alpha]
        return (self.ee + self.ee_glue + continue_fraction * again) / self.size


@dataclass(frozen=True)
class Times:
    """All batches' times. Medians over batches, so that a busy moment of the machine counts little."""

    batches: Sequence[BatchTimes]
    batch: int

    def steady(self) -> Sequence[BatchTimes]:
        """Whole batches after the first, which warms up; all of them where that leaves none."""
        whole = [times for times in self.batches[1:] if times.size == self.batch]
        return whole or self.batches

    def images_per_second(self, alpha: float, continue_fraction: float) -> float:
        """Pictures a second from decoded pixels to probabilities."""
        return 1 / statistics.median(times.cascade(alpha, continue_fraction) for times in self.steady())

    def milliseconds(self, alpha: float) -> dict[str, float]:
        """Milliseconds a picture by step; `sac` and `sac_glue` are of one that continues."""
        steady = self.steady()
        steps = {
            "ee": [times.ee / times.size for times in steady],
            "ee_glue": [times.ee_glue / times.size for times in steady],
            "sac": [times.sac[alpha] / times.size for times in steady],
            "sac_glue": [times.sac_glue[alpha] / times.size for times in steady],
            "deit": [times.deit / times.size for times in steady if times.deit is not None],
        }
        return {step: 1000 * statistics.median(found) for step, found in steps.items() if found}

    def speedup(self, alpha: float, continue_fraction: float) -> float | None:
        """How many times faster than the plain DeiT: median over the batches that ran both, None without any."""
        ratios = [
            times.deit / times.size / times.cascade(alpha, continue_fraction)
            for times in self.steady()
            if times.deit is not None
        ]
        return statistics.median(ratios) if ratios else None
