"""Accuracy against cost: candidate etas, the points they give, the Pareto front, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.data import Float
from sacvit_deploy.evaluation.eval_table import Answers
from sacvit_deploy.evaluation.metrics import Share

STEPS = 200  # candidates between nobody and everybody continuing: half a per cent of the pictures each


@dataclass(frozen=True)
class Point:
    """The cascade at one eta and alpha: accuracy, share of pictures that continue, multiply-adds a picture."""

    eta: float
    alpha: float
    top1: Share
    continue_fraction: float
    gmacs: float
    gmac_ratio: float  # how many times fewer than the plain DeiT

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {**self.__dict__, "top1": self.top1.to_dict()}


def candidate_etas(confidence: Float, steps: int = STEPS) -> list[float]:
    """Etas that split the pictures into about even shares, ascending, from 0 (all exit) to 1 (all continue).

    confidence: [n] stage 1's highest probability. Between two neighbouring probabilities every eta does the same, so
    the one with the fewest decimals stands for them: people will type it. steps >= 1.
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
    """The number with the fewest decimals in [below, above)."""
    middle = (below + above) / 2
    for decimals in range(1, 17):
        rounded = round(middle, decimals)
        if below <= rounded < above:
            return rounded
    return below


def points(answers: Answers, etas: Sequence[float], alpha: float, costs: Costs) -> list[Point]:
    """One point for each eta, at one alpha; `answers` and `costs` are of that alpha."""
    order = np.argsort(answers.confidence, kind="stable")
    total = len(order)
    # With the pictures in order of confidence, every eta lets the first k continue.
    sac = np.concatenate([[0], np.cumsum(answers.sac_right[order])])
    ee = np.concatenate([[0], np.cumsum(answers.ee_right[order])])
    found = []
    for eta in etas:
        k = int(np.searchsorted(answers.confidence[order], eta, side="right"))
        fraction = k / total
        found.append(
            Point(
                eta=eta,
                alpha=alpha,
                top1=Share(int(sac[k] + ee[-1] - ee[k]), total),
                continue_fraction=fraction,
                gmacs=costs.cascade(fraction) / 1e9,
                gmac_ratio=costs.ideal_speedup(fraction),
            )
        )
    return found


def pareto(found: Sequence[Point]) -> list[Point]:
    """The points by rising cost that no other beats by being as cheap and more accurate, or as accurate and cheaper."""
    front: list[Point] = []
    for point in sorted(found, key=lambda p: (p.gmacs, -p.top1.value, p.alpha, p.eta)):
        if not front or point.top1.value > front[-1].top1.value:
            front.append(point)
    return front


def choose_accuracy(found: Sequence[Point], reference: Share, loss: float) -> Point:
    """The cheapest point at most `loss` (per cent points) below the reference, on the same pictures; loss >= 0.

    Among equally cheap ones the most accurate. Raises UsageError telling what is reachable.
    """
    needed = reference.right - loss * reference.count / 100
    good = [point for point in found if point.top1.right >= needed - 1e-9]
    if not good:
        best = max(found, key=lambda p: (p.top1.right, -p.gmacs))
        raise UsageError(
            f"no eta comes within {loss:g} points of {100 * reference.value:.2f} %; the most accurate, eta "
            f"{best.eta:g} at alpha {best.alpha:g}, has {100 * best.top1.value:.2f} %, "
            f"{100 * (reference.value - best.top1.value):.2f} points less"
        )
    return min(good, key=lambda p: (p.gmacs, -p.top1.right))


def choose_speedup(found: Sequence[Point], ratio: float) -> Point:
    """The most accurate point with at least `ratio` times fewer multiply-adds than the plain DeiT.

    Among equally accurate ones the cheapest. Raises UsageError telling what is reachable.
    """
    good = [point for point in found if point.gmac_ratio >= ratio]
    if not good:
        best = max(found, key=lambda p: (p.gmac_ratio, p.top1.right))
        raise UsageError(
            f"no eta needs {ratio:g} times fewer multiply-adds than the DeiT; the most is {best.gmac_ratio:.2f} times, "
            f"at eta {best.eta:g} with {100 * best.top1.value:.2f} % right"
        )
    return max(good, key=lambda p: (p.top1.right, -p.gmacs))
