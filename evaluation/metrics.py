"""Accuracies of the cascade at an eta, with intervals and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.costs import Costs
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.outputs import Bool, EvalOutputs
from sacvit_deploy.glue import check_eta, continuing

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Share:
    """`right` of `count` images, as a share with its 95 % Wilson interval; all between 0 and 1."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """The share; NaN where count is 0."""
        return self.right / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval."""
        return wilson(self.right, self.count)

    @property
    def percent(self) -> str:
        """The share in per cent, such as `71.4`; a dash where count is 0."""
        return f"{100 * self.value:.1f}" if self.count else "-"

    @property
    def percent_interval(self) -> str:
        """The share and its interval in per cent, such as `71.4 (70.2-72.5)`."""
        low, high = self.interval
        return f"{self.percent} ({100 * low:.1f}-{100 * high:.1f})"

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the JSON form; `value` is null where count is 0."""
        low, high = self.interval
        return {
            "right": self.right,
            "count": self.count,
            "value": self.value if self.count else None,
            "low": low,
            "high": high,
        }


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of the share right / count, 0 <= right <= count; (0, 1) where count is 0."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    # At the ends the formula gives 0 and 1 except for rounding.
    return (0.0 if right == 0 else low), (1.0 if right == count else high)


@dataclass(frozen=True)
class CascadeScore:
    """Accuracy of the cascade at one eta, who continued, and the cost.

    exits: stage 1 on the images that exit. rest, rest_ee: stage 2 and stage 1 on those that continue.
    """

    eta: float
    cascade: Share
    exits: Share
    rest: Share
    rest_ee: Share
    gmacs: float
    deit_gmacs: float

    @property
    def continue_fraction(self) -> float:
        """Share of the images that continue to stage 2."""
        return self.rest.count / self.cascade.count if self.cascade.count else math.nan

    @property
    def gmac_ratio(self) -> float:
        """MACs of the plain DeiT divided by those of the cascade."""
        return self.deit_gmacs / self.gmacs


@dataclass(frozen=True)
class Correctness:
    """Stage 1's highest probability [n], and for both stages whether they are right [n]."""

    confidence: Float
    ee_right: Bool
    sac_right: Bool

    @classmethod
    def of(cls, outputs: EvalOutputs, alpha: float) -> Correctness:
        """Compare both stages' answers with the labels."""
        labels, sac = outputs.labels, outputs.sac[alpha]
        return cls(outputs.ee.probability, right(outputs.ee.answer, labels), right(sac.answer, labels))

    def cascade_right(self, eta: float) -> Bool:
        """Return for each image whether the cascade is right at an eta [n]."""
        return np.where(continues(self.confidence, eta), self.sac_right, self.ee_right)

    def score(self, eta: float, costs: Costs) -> CascadeScore:
        """Score the cascade at an eta. Raises UsageError for an eta out of range."""
        go = continues(self.confidence, eta)
        exits, rest = share(self.ee_right[~go]), share(self.sac_right[go])
        fraction = rest.count / len(go) if len(go) else 0.0
        return CascadeScore(
            eta=eta,
            cascade=Share(exits.right + rest.right, len(go)),
            exits=exits,
            rest=rest,
            rest_ee=share(self.ee_right[go]),
            gmacs=costs.cascade(fraction) / 1e9,
            deit_gmacs=costs.deit / 1e9,
        )


def continues(confidence: Float, eta: float) -> Bool:
    """Apply the gate to stage 1's highest probabilities [n]: True where the image goes on to stage 2.

    Raises UsageError for an eta out of range.
    """
    return continuing(confidence[:, None], check_eta(eta))


def share(right: Bool) -> Share:
    """Count how many of [n] are True."""
    return Share(int(right.sum()), len(right))


def right(answers: Index, labels: Index) -> Bool:
    """Compare answers [n] with labels [n]."""
    equal: Bool = answers == labels
    return equal
