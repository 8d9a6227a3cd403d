"""A sweep over eta and alpha: its curves, its Pareto front, and the choice of a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.curve import (
    SweepPoint,
    candidate_etas,
    choose_by_accuracy,
    choose_by_speedup,
    sweep_points,
)
from sacvit_deploy.evaluation.metrics import Correctness
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.geometry import num_targets

ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the paper's table 7
Curves = Mapping[float, Sequence[SweepPoint]]  # by alpha, each by rising eta


@dataclass(frozen=True)
class SweepChoice:
    """The chosen point, and the goal in words."""

    point: SweepPoint
    goal: str


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: curves, the Pareto front over all of them, and the choice, if any."""

    title: str
    curves: Curves
    front: Sequence[SweepPoint]
    choice: SweepChoice | None
    deit_gmacs: float
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        choice = self.choice
        return {
            **self.facts,
            "deit_gmacs": self.deit_gmacs,
            "choice": None if choice is None else {"goal": choice.goal, **choice.point.to_dict()},
            "front": [point.to_dict() for point in self.front],
            "curves": {str(alpha): [point.to_dict() for point in curve] for alpha, curve in self.curves.items()},
        }


def sweep_alphas(alphas: Sequence[float] | None, config: ModelConfig) -> list[float]:
    """Return the alphas to sweep, ascending: the model's own, and `alphas` or else those of the paper.

    Of the paper's, the possible ones: a grid with few tokens has no room for some.
    """
    own = config.method.alpha
    if alphas is not None:
        return sorted({own, *alphas})
    return sorted({own, *(alpha for alpha in ALPHAS if _possible(alpha, config))})


def _possible(alpha: float, config: ModelConfig) -> bool:
    try:
        num_targets(alpha, config.geometry.tokens, config.method.rounding)
    except UsageError:
        return False
    return True


def sweep_curves(outputs: EvalOutputs, costs: Mapping[float, Costs]) -> dict[float, list[SweepPoint]]:
    """Compute the points of every alpha at the same etas; the last point of a curve is eta 1, where all continue."""
    etas = candidate_etas(outputs.ee.probability)
    return {alpha: sweep_points(Correctness.of(outputs, alpha), etas, alpha, costs[alpha]) for alpha in costs}


def choose_point(
    curves: Curves, own: float, allowed: Sequence[float], accuracy: float | None, speedup: float | None
) -> SweepChoice | None:
    """Choose a default among the `allowed` alphas, by one of two targets; None without a target.

    accuracy: points that may be lost against stage 2 for every image at the alpha `own`. speedup: how many times fewer
    MACs than the plain DeiT. Raises UsageError for a target out of reach.
    """
    points = [point for alpha in curves if alpha in allowed for point in curves[alpha]]
    if accuracy is not None:
        reference = curves[own][-1].top1
        goal = f"within {accuracy:g} points of SAC-only at alpha {own:g} ({reference.percent} %)"
        return SweepChoice(choose_by_accuracy(points, reference, accuracy), goal)
    if speedup is not None:
        goal = f"at least {speedup:g} times fewer MACs than the DeiT"
        return SweepChoice(choose_by_speedup(points, speedup), goal)
    return None
