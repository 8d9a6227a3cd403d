"""Measured seconds by step, and the time per image they give at any continue fraction."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchTimes:
    """Seconds of one batch of `size` images, all of which go through both stages.

    ee, ee_glue: stage 1's engine, and the view and the gate around it. sac, sac_glue: stage 2's, by alpha. deit: the
    plain DeiT on these images, None if it was not timed.
    """

    size: int
    ee: float
    ee_glue: float
    sac: Mapping[float, float]
    sac_glue: Mapping[float, float]
    deit: float | None

    def cascade(self, alpha: float, continue_fraction: float) -> float:
        """Seconds per image when `continue_fraction` of them continue; stage 2 runs on full batches, as at run time."""
        stage_two = self.sac[alpha] + self.sac_glue[alpha]
        return (self.ee + self.ee_glue + continue_fraction * stage_two) / self.size


@dataclass(frozen=True)
class EvalTimes:
    """Times of all batches. Summaries are medians over batches, so that a busy moment of the machine counts little."""

    batches: Sequence[BatchTimes]
    batch: int

    def steady(self) -> Sequence[BatchTimes]:
        """Return the whole batches after the first, which warms up; all batches where that leaves none."""
        whole = [times for times in self.batches[1:] if times.size == self.batch]
        return whole or self.batches

    def images_per_second(self, alpha: float, continue_fraction: float) -> float:
        """Throughput from decoded pixels to probabilities."""
        return 1 / statistics.median(times.cascade(alpha, continue_fraction) for times in self.steady())

    def milliseconds(self, alpha: float) -> dict[str, float]:
        """Milliseconds per image by step; `sac` and `sac_glue` count per continuing image."""
        steady = self.steady()
        steps = {
            "ee": [times.ee / times.size for times in steady],
            "ee_glue": [times.ee_glue / times.size for times in steady],
            "sac": [times.sac[alpha] / times.size for times in steady],
            "sac_glue": [times.sac_glue[alpha] / times.size for times in steady],
            "deit": [times.deit / times.size for times in steady if times.deit is not None],
        }
        return {step: 1000 * statistics.median(seconds) for step, seconds in steps.items() if seconds}

    def speedup(self, alpha: float, continue_fraction: float) -> float | None:
        """Time of the plain DeiT divided by the cascade's: median over the batches that timed both; None without."""
        ratios = [
            times.deit / times.size / times.cascade(alpha, continue_fraction)
            for times in self.steady()
            if times.deit is not None
        ]
        return statistics.median(ratios) if ratios else None
