"""Accuracies of the cascade at an eta, with intervals and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Index
from sacvit_deploy.costs import Costs
from sacvit_deploy.glue import check_eta

Bool = npt.NDArray[np.bool_]
Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Share:
    """`right` of `count` pictures, and the 95 % Wilson interval of their share; all shares between 0 and 1."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """The share itself; NaN of nothing."""
        return self.right / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return wilson(self.right, self.count)

    def to_dict(self) -> dict[str, float | int | None]:
        """The JSON form; the value of nothing is null."""
        low, high = self.interval
        return {
            "right": self.right,
            "count": self.count,
            "value": self.value if self.count else None,
            "low": low,
            "high": high,
        }


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of the share right / count, 0 <= right <= count; of nothing, (0, 1)."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    # At the ends the formula gives 0 and 1 but for rounding.
    return (0.0 if right == 0 else low), (1.0 if right == count else high)


@dataclass(frozen=True)
class Score:
    """The cascade at one eta: accuracy, who continued, and multiply-adds.

    exits and rest: stage 1 on the pictures that exit, stage 2 on those that continue. rest_ee: stage 1 on those.
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
        """Share of pictures that go on to stage 2."""
        return self.rest.count / self.cascade.count if self.cascade.count else math.nan

    @property
    def gmac_ratio(self) -> float:
        """How many times fewer multiply-adds than the plain DeiT."""
        return self.deit_gmacs / self.gmacs


def goes_on(confidence: npt.NDArray[np.float64], eta: float) -> Bool:
    """[n] stage 1's highest probability -> [n] True where the gate sends the picture on (glue.continuing)."""
    found: Bool = ~(confidence > check_eta(eta))
    return found


def score(confidence: npt.NDArray[np.float64], ee_right: Bool, sac_right: Bool, eta: float, costs: Costs) -> Score:
    """Score the cascade at eta from [n] arrays: stage 1's highest probability, and who is right. Raises UsageError."""
    go = goes_on(confidence, eta)
    exits, rest = share(ee_right[~go]), share(sac_right[go])
    fraction = rest.count / len(go) if len(go) else 0.0
    return Score(
        eta=eta,
        cascade=Share(exits.right + rest.right, len(go)),
        exits=exits,
        rest=rest,
        rest_ee=share(ee_right[go]),
        gmacs=costs.cascade(fraction) / 1e9,
        deit_gmacs=costs.deit / 1e9,
    )


def share(right: Bool) -> Share:
    """[n] -> how many are True."""
    return Share(int(right.sum()), len(right))


def right(answers: Index, labels: Index) -> Bool:
    """[n], [n] -> [n]: whether the answer is the label."""
    found: Bool = answers == labels
    return found
