"""Parity: how far a cascade is from the golden vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.geometry import window_cover
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.selection import select_targets, window_sums
from sacvit_deploy.verification.golden import Golden

# Scores closer than this (relative to the largest) may change places: fp32 sums in another order differ by so much.
TIE = 1e-5


@dataclass(frozen=True)
class ParityCase:
    """Comparison on one kind of images, batch size and alpha; errors are `relative_error`s of logits."""

    kind: str  # of images: "random" or "real"
    batch: int
    alpha: float
    ee_error: float
    sac_error: float
    overlap: float  # share of the reference's targets that were selected
    identical: bool  # the same targets but for exact ties

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as the manifest has it."""
        return {
            "pictures": self.kind,
            "batch": self.batch,
            "alpha": self.alpha,
            "ee_error": _rounded(self.ee_error),
            "sac_error": _rounded(self.sac_error),
            "target_overlap": round(self.overlap, 4),
            "targets_identical": self.identical,
        }


@dataclass(frozen=True)
class Parity:
    """Distance of a variant from the reference over all cases."""

    precision: str
    cases: tuple[ParityCase, ...]

    @property
    def tolerance(self) -> float:
        """Largest error allowed in this precision."""
        return PRECISIONS[self.precision].tolerance

    @property
    def error(self) -> float:
        """Largest error of either stage; NaN if any is NaN, which Python's max would pass over."""
        return float(np.max([[case.ee_error, case.sac_error] for case in self.cases]))

    @property
    def passed(self) -> bool:
        """True if errors are within tolerance (NaN is not) and, in fp32, targets are identical."""
        return self.error <= self.tolerance and (self.precision != "fp32" or all(case.identical for case in self.cases))

    def summary(self) -> str:
        """Format as one line."""
        overlap = min(case.overlap for case in self.cases)
        same = "identical targets" if all(c.identical for c in self.cases) else f"target overlap >= {overlap:.1%}"
        return f"largest error {self.error:.1e} of the largest logit (allowed {self.tolerance:.0e}), {same}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as the manifest has it."""
        return {
            "tolerance": self.tolerance,
            "largest_error": _rounded(self.error),
            "targets_identical": all(case.identical for case in self.cases),
            "smallest_target_overlap": round(min(case.overlap for case in self.cases), 4),
            "cases": [case.to_dict() for case in self.cases],
        }


def measure_parity(cascade: Cascade, golden: Golden, precision: str, batches: Iterable[int]) -> Parity:
    """Run the cascade's engines and glue on golden images, by kind, batch size and alpha. Raises BackendError."""
    cases = []
    for kind in dict.fromkeys(golden.kinds):
        rows = [row for row, name in enumerate(golden.kinds) if name == kind]
        for size in batches:
            part = golden.pick(rows[:size])
            if len(part.kinds) == size:
                cases += _compare(cascade, part, kind)
    return Parity(precision, tuple(cases))


def _compare(cascade: Cascade, golden: Golden, kind: str) -> list[ParityCase]:
    # The reference's targets go on, so that one swapped tie does not hide the accuracy of stage 2.
    both = cascade.run_both(golden.images, golden.targets)
    ee_error = relative_error(both.ee["logits"], golden.ee_logits)
    scores = np.nan_to_num(both.ee["scores"])
    cases = []
    for alpha, stage_two, reference in zip(golden.alphas, both.sac, golden.sac_logits, strict=True):
        targets = stage_two.targets
        selected = cascade.targets(scores, targets.shape[1])
        overlap = np.mean([np.isin(s, t).mean() for s, t in zip(selected, targets, strict=True)])
        given = zip(selected, targets, golden.scores, strict=True)
        identical = all(_same_but_ties(*selection, cascade.config) for selection in given)
        size = len(golden.kinds)
        cases.append(
            ParityCase(
                kind, size, alpha, ee_error, relative_error(stage_two.logits, reference), float(overlap), identical
            )
        )
    return cases


def _rounded(error: float) -> float | None:
    """Round to three digits; None stands for NaN and infinity, which JSON lacks."""
    return float(f"{error:.3g}") if np.isfinite(error) else None


def relative_error(logits: Array, reference: Array) -> float:
    """Return the largest absolute difference over the largest absolute reference value."""
    with np.errstate(all="ignore"):  # a reference of zeros gives NaN or infinity, and so does not pass
        return float(np.abs(logits - reference).max() / np.abs(reference).max())


def _same_but_ties(selected: Index, targets: Index, scores: Array, config: ModelConfig) -> bool:
    """Tell whether two selections differ only in tokens, or windows, whose reference scores are equal within TIE."""
    choices = [targets]
    if config.window is not None:
        grid, side = config.geometry.grid, config.method.region_size
        (sums,) = window_sums(scores, grid, side)
        equal = window_cover(grid, side)[sums >= sums.max() - TIE * np.abs(sums).max()]
        choices += list(select_targets(np.where(equal, scores, -np.inf), len(targets)))
    return any(_differ_in_ties(selected, choice, scores) for choice in choices)


def _differ_in_ties(selected: Index, targets: Index, scores: Array) -> bool:
    added, missed = np.setdiff1d(selected, targets), np.setdiff1d(targets, selected)
    if added.size == 0:
        return True
    swapped = scores[np.concatenate([added, missed])]
    return bool(swapped.max() - swapped.min() <= TIE * np.abs(scores).max())
