"""The tables of `sacvit eval`: one row an eta (the paper's table 3), and one row a size of object."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.costs import Costs
from sacvit_deploy.evaluation.data import Float
from sacvit_deploy.evaluation.metrics import Bool, Score, Share, goes_on, right, score, share
from sacvit_deploy.evaluation.outputs import Outputs
from sacvit_deploy.evaluation.scenes import size_buckets


@dataclass(frozen=True)
class Row:
    """The cascade at one eta on this machine. time_ratio: how many times faster than the DeiT, None if not measured."""

    score: Score
    images_per_second: float
    time_ratio: float | None

    def to_dict(self, default_eta: float) -> dict[str, Any]:
        """The JSON form."""
        found = self.score
        return {
            "eta": found.eta,
            "default": found.eta == default_eta,
            "top1": found.cascade.to_dict(),
            "continue_fraction": found.continue_fraction,
            "exits": found.exits.to_dict(),
            "continuing": found.rest.to_dict(),
            "continuing_ee": found.rest_ee.to_dict(),
            "gmacs": found.gmacs,
            "gmac_ratio": found.gmac_ratio,
            "images_per_second": self.images_per_second,
            "time_ratio": self.time_ratio,
        }


@dataclass(frozen=True)
class Bucket:
    """Pictures with objects of like size: stage 1 alone, stage 2 alone, the cascade, and who continued."""

    name: str
    ee: Share
    sac: Share
    cascade: Share
    continuing: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            field.name: value.to_dict() if isinstance(value, Share) else value
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }


@dataclass(frozen=True)
class Answers:
    """[n] arrays: stage 1's highest probability, and whether each stage is right."""

    confidence: Float
    ee_right: Bool
    sac_right: Bool

    @classmethod
    def of(cls, outputs: Outputs, alpha: float) -> Answers:
        """Compare both stages with the labels."""
        labels = outputs.labels
        sac = outputs.sac[alpha]
        return cls(outputs.ee.probability, right(outputs.ee.answer, labels), right(sac.answer, labels))

    def score(self, eta: float, costs: Costs) -> Score:
        """The cascade at an eta. Raises UsageError."""
        return score(self.confidence, self.ee_right, self.sac_right, eta, costs)


def row(outputs: Outputs, answers: Answers, alpha: float, eta: float, costs: Costs) -> Row:
    """Score and time the cascade at an eta. Raises UsageError."""
    found = answers.score(eta, costs)
    times, fraction = outputs.times, found.continue_fraction
    return Row(found, times.images_per_second(alpha, fraction), times.speedup(alpha, fraction))


def by_size(answers: Answers, object_px: Float, eta: float) -> list[Bucket]:
    """One bucket for each size of object that occurs; object_px [n]."""
    go = goes_on(answers.confidence, eta)
    cascade = np.where(go, answers.sac_right, answers.ee_right)
    return [
        Bucket(
            name,
            share(answers.ee_right[inside]),
            share(answers.sac_right[inside]),
            share(cascade[inside]),
            int(go[inside].sum()),
        )
        for name, inside in size_buckets(object_px).items()
    ]


HEADER = (
    "    eta   top-1 % (95 %)      continue   right % among        GMACs   x fewer   images/s   x faster\n"
    "                                        exits  continuing             than DeiT            than DeiT"
)


def line(found: Row, default_eta: float) -> str:
    """One row for people; the bundle's default is marked with an arrow."""
    s = found.score
    mark = ">" if s.eta == default_eta else " "
    ratio = f"{found.time_ratio:.2f}x" if found.time_ratio is not None else "-"
    return (
        f"{mark} {s.eta:>6.4g}   {percent(s.cascade):<20}{s.continue_fraction:>7.1%}   "
        f"{bare(s.exits):>6}  {bare(s.rest):>9}"
        f"   {s.gmacs:>8.3f}   {s.gmac_ratio:>6.2f}x   {found.images_per_second:>8.1f}   {ratio:>8}"
    )


SIZE_HEADER = "  object        scenes   EE only %           SAC only %          cascade %           continue"


def size_line(found: Bucket) -> str:
    """One size for people."""
    count = found.cascade.count
    shares = "".join(f"{percent(value):<20}" for value in (found.ee, found.sac, found.cascade))
    return f"  {found.name:<13}{count:>7,}   {shares}{found.continuing / count:>8.1%}"


def percent(found: Share) -> str:
    """`71.4 (70.2-72.5)`: a share and its interval, in per cent."""
    low, high = found.interval
    return f"{bare(found)} ({100 * low:.1f}-{100 * high:.1f})"


def bare(found: Share) -> str:
    """`71.4`, or a dash for a share of nothing."""
    return f"{100 * found.value:.1f}" if found.count else "-"
