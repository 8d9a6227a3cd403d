"""Accuracies of the cascade at an eta, with intervals and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

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
        """Lower and upper end of the 95 % interval; 0 and 1 where count is 0."""
        if self.count == 0:
            return 0.0, 1.0
        n, z = self.count, Z95
        centre = self.value + z * z / (2 * n)
        half = z * math.sqrt(self.value * (1 - self.value) / n + z * z / (4 * n * n))
        low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
        # At the ends the formula gives 0 and 1 except for rounding.
        return (0.0 if self.right == 0 else low), (1.0 if self.right == n else high)

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


def to_json(value: Any) -> Any:
    """Return a dataclass's JSON form, from `to_dict` if it has one, else its fields; for `json.dumps(default=...)`."""
    return value.to_dict() if hasattr(value, "to_dict") else vars(value)


@dataclass(frozen=True)
class CascadeScore:
    """Accuracy of the cascade at one eta, who continued, and the cost.

    exits: stage 1 on the images that exit. continuing, continuing_ee: stage 2 and stage 1 on those that continue.
    gmac_ratio: how many times fewer MACs than the plain DeiT.
    """

    eta: float
    top1: Share
    continue_fraction: float
    exits: Share
    continuing: Share
    continuing_ee: Share
    gmacs: float
    gmac_ratio: float


@dataclass(frozen=True)
class Correctness:
    """Stage 1's highest probability [n], and for both stages whether they are right [n]; n >= 1."""

    confidence: Float
    ee_right: Bool
    sac_right: Bool

    @classmethod
    def of(cls, outputs: EvalOutputs, alpha: float) -> Correctness:
        """Compare both stages' answers with the labels."""
        labels, sac = outputs.labels, outputs.sac[alpha]
        return cls(outputs.ee.probability, outputs.ee.answer == labels, sac.answer == labels)

    def cascade_right(self, eta: float) -> Bool:
        """Return for each image whether the cascade is right at an eta [n]."""
        return np.where(continues(self.confidence, eta), self.sac_right, self.ee_right)

    def score(self, eta: float, costs: Costs) -> CascadeScore:
        """Score the cascade at an eta. Raises UsageError for an eta out of range."""
        go = continues(self.confidence, eta)
        exits, rest = share(self.ee_right[~go]), share(self.sac_right[go])
        fraction = rest.count / len(go)
        gmacs = costs.cascade(fraction) / 1e9
        return CascadeScore(
            eta=eta,
            top1=Share(exits.right + rest.right, len(go)),
            continue_fraction=fraction,
            exits=exits,
            continuing=rest,
            continuing_ee=share(self.ee_right[go]),
            gmacs=gmacs,
            gmac_ratio=costs.deit / 1e9 / gmacs,
        )


def continues(confidence: Float, eta: float) -> Bool:
    """Apply the gate to stage 1's highest probabilities [n]: True where the image goes on to stage 2.

    Raises UsageError for an eta out of range.
    """
    return continuing(confidence[:, None], check_eta(eta))


def share(right: Bool) -> Share:
    """Count how many of [n] are True."""
    return Share(int(right.sum()), len(right))
