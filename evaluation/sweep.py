"""A sweep over eta and alpha: its curves of accuracy against cost, their Pareto front, and the choice of a default."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.metrics import Correctness, Share

ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the paper's table 7
STEPS = 200  # candidates between no image and every image continuing: half a per cent of the images each


@dataclass(frozen=True)
class SweepPoint:
    """The cascade at one eta and alpha: accuracy, share of images that continue, mean GMACs per image."""

    eta: float
    alpha: float
    top1: Share
    continue_fraction: float
    gmacs: float
    gmac_ratio: float  # how many times fewer than the plain DeiT


@dataclass(frozen=True)
class SweepChoice:
    """The chosen point, and the goal in words."""

    point: SweepPoint
    goal: str


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: curves, the Pareto front over all of them, and the choice, if any."""

    title: str
    curves: Mapping[float, Sequence[SweepPoint]]  # by alpha, each by rising eta
    front: Sequence[SweepPoint]
    choice: SweepChoice | None
    deit_gmacs: float
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, for `to_json`."""
        choice = self.choice
        return {
            **self.facts,
            "deit_gmacs": self.deit_gmacs,
            "choice": None if choice is None else {"goal": choice.goal, **vars(choice.point)},
            "front": self.front,
            "curves": {str(alpha): curve for alpha, curve in self.curves.items()},
        }


def sweep_alphas(alphas: Sequence[float] | None, config: ModelConfig) -> list[float]:
    """Return the alphas to sweep, ascending: the model's own, and `alphas` or else those of the paper.

    Of the paper's, the possible ones: a grid with few tokens has no room for some.
    """
    chosen = {config.method.alpha, *(alphas or ())}
    for alpha in ALPHAS if alphas is None else ():
        with contextlib.suppress(UsageError):
            config.num_targets(alpha)
            chosen.add(alpha)
    return sorted(chosen)


def candidate_etas(confidence: Float, steps: int = STEPS) -> list[float]:
    """Choose etas that split the images into about equal shares, ascending, from 0 (all exit) to 1 (all continue).

    confidence: [n] stage 1's highest probability. All etas between two neighbouring probabilities have the same effect;
    the one with the fewest decimals is returned, because people will type it. steps >= 1.
    """
    ordered = np.sort(confidence)
    cuts = np.unique(np.linspace(0, len(ordered), min(steps, len(ordered)) + 1).round().astype(int))
    etas = {0.0, 1.0}
    for cut in cuts[(cuts > 0) & (cuts < len(ordered))]:
        below, above = float(ordered[cut - 1]), float(ordered[cut])
        if below < above:
            etas.add(_shortest(below, above))
    return sorted(etas)


def _shortest(below: float, above: float) -> float:
    """Return the number with the fewest decimals in [below, above)."""
    middle = (below + above) / 2
    for decimals in range(1, 17):
        rounded = round(middle, decimals)
        if below <= rounded < above:
            return rounded
    return below


def sweep_points(graded: Correctness, etas: Sequence[float], alpha: float, costs: Costs) -> list[SweepPoint]:
    """Compute one point for each eta at one alpha, to which `graded` and `costs` belong."""
    order = np.argsort(graded.confidence, kind="stable")
    total = len(order)
    # With the images in order of confidence, every eta lets the first k continue.
    sac = np.concatenate([[0], np.cumsum(graded.sac_right[order])])
    ee = np.concatenate([[0], np.cumsum(graded.ee_right[order])])
    points = []
    for eta in etas:
        k = int(np.searchsorted(graded.confidence[order], eta, side="right"))
        fraction = k / total
        points.append(
            SweepPoint(
                eta=eta,
                alpha=alpha,
                top1=Share(int(sac[k] + ee[-1] - ee[k]), total),
                continue_fraction=fraction,
                gmacs=costs.cascade(fraction) / 1e9,
                gmac_ratio=costs.ideal_speedup(fraction),
            )
        )
    return points


def pareto(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """Return, by rising cost, the points that no other beats: none is as cheap and more accurate, or equal and cheaper.

    Of points equal in both, one is returned.
    """
    front: list[SweepPoint] = []
    for point in sorted(points, key=lambda p: (p.gmacs, -p.top1.value, p.alpha, p.eta)):
        if not front or point.top1.value > front[-1].top1.value:
            front.append(point)
    return front


def choose_by_accuracy(points: Sequence[SweepPoint], reference: Share, loss: float) -> SweepPoint:
    """Return the cheapest point at most `loss` percentage points below the reference on the same images; loss >= 0.

    Of equally cheap points the most accurate is returned. Raises UsageError with what is reachable.
    """
    needed = reference.right - loss * reference.count / 100
    good = [point for point in points if point.top1.right >= needed - 1e-9]
    if not good:
        best = max(points, key=lambda p: (p.top1.right, -p.gmacs))
        raise UsageError(
            f"no eta comes within {loss:g} points of {100 * reference.value:.2f} %; the most accurate, eta "
            f"{best.eta:g} at alpha {best.alpha:g}, has {100 * best.top1.value:.2f} %, "
            f"{100 * (reference.value - best.top1.value):.2f} points less"
        )
    return min(good, key=lambda p: (p.gmacs, -p.top1.right))


def choose_by_speedup(points: Sequence[SweepPoint], ratio: float) -> SweepPoint:
    """Return the most accurate point with at least `ratio` times fewer MACs than the plain DeiT.

    Of equally accurate points the cheapest is returned. Raises UsageError with what is reachable.
    """
    good = [point for point in points if point.gmac_ratio >= ratio]
    if not good:
        best = max(points, key=lambda p: (p.gmac_ratio, p.top1.right))
        raise UsageError(
            f"no eta needs {ratio:g} times fewer MACs than the DeiT; the most is {best.gmac_ratio:.2f} times, "
            f"at eta {best.eta:g} with {100 * best.top1.value:.2f} % right"
        )
    return max(good, key=lambda p: (p.top1.right, -p.gmacs))


def choose_point(
    curves: Mapping[float, Sequence[SweepPoint]],
    own: float,
    allowed: Sequence[float],
    accuracy: float | None,
    speedup: float | None,
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


def thinned(points: Sequence[SweepPoint], most: int) -> list[SweepPoint]:
    """Choose at most `most` points, about evenly spaced in cost, both ends included; points by rising cost."""
    if len(points) <= most:
        return list(points)
    gmacs = np.array([point.gmacs for point in points])
    nearest = {int(np.abs(gmacs - cost).argmin()) for cost in np.linspace(gmacs[0], gmacs[-1], most)}
    return [points[number] for number in sorted(nearest)]
