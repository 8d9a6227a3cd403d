"""Accuracy against cost: candidate etas, the points they give, the Pareto front, and the choice of one point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.metrics import Correctness, Share

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

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**self.__dict__, "top1": self.top1.to_dict()}


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
