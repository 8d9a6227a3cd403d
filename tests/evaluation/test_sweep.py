"""Candidate etas, points, the Pareto front and the choice, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.metrics import Correctness, Share
from sacvit_deploy.evaluation.sweep import (
    SweepPoint,
    candidate_etas,
    choose_by_accuracy,
    choose_by_speedup,
    pareto,
    sweep_points,
)

COSTS = Costs(ee=1_000_000, sac=3_000_000, deit=5_000_000)
confidences = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=80).map(np.array)


def answers(seed: int, count: int) -> Correctness:
    rng = np.random.default_rng(seed)
    return Correctness(rng.random(count).round(rng.integers(1, 6)), rng.random(count) < 0.5, rng.random(count) < 0.8)


@given(confidences)
def test_candidates_make_every_split_there_is(confidence: np.ndarray) -> None:
    etas = candidate_etas(confidence, steps=len(confidence))
    assert etas == sorted(set(etas)) and etas[0] == 0 and etas[-1] == 1
    splits = {int((confidence <= eta).sum()) for eta in etas}
    possible = {int((confidence <= p).sum()) for p in confidence} | {0, len(confidence)}
    assert splits == possible


@given(confidences, st.integers(1, 20))
def test_few_steps_give_few_candidates(confidence: np.ndarray, steps: int) -> None:
    assert len(candidate_etas(confidence, steps)) <= steps + 1


def test_candidates_are_short_to_type() -> None:
    assert candidate_etas(np.array([0.3123, 0.3991])) == [0.0, 0.36, 1.0] or candidate_etas(
        np.array([0.3123, 0.3991])
    ) == [0.0, 0.4, 1.0]
    assert 0.5 in candidate_etas(np.array([0.2, 0.8]))


@given(st.integers(0, 500), st.integers(1, 70))
def test_points_are_the_scores(seed: int, count: int) -> None:
    graded = answers(seed, count)
    for point in sweep_points(graded, candidate_etas(graded.confidence), 0.5, COSTS):
        naive = graded.score(point.eta, COSTS)
        assert point.top1 == naive.top1
        assert point.continue_fraction == naive.continue_fraction
        assert point.gmacs == pytest.approx(naive.gmacs)
        assert point.gmac_ratio == pytest.approx(naive.gmac_ratio)


def made(pairs: list[tuple[int, int]]) -> list[SweepPoint]:
    """Make points from pairs of cost and right answers of 20."""
    return [
        SweepPoint(0.5, 0.5, Share(right, 20), 0.5, gmacs=cost / 10, gmac_ratio=100 / max(1, cost))
        for cost, right in pairs
    ]


grids = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=30).map(made)


@given(grids)
def test_front_is_what_nothing_beats(points: list[SweepPoint]) -> None:
    def beats(a: SweepPoint, b: SweepPoint) -> bool:
        return a.gmacs <= b.gmacs and a.top1.right >= b.top1.right and (a.gmacs, a.top1) != (b.gmacs, b.top1)

    unbeaten = {(p.gmacs, p.top1.right) for p in points if not any(beats(other, p) for other in points)}
    front = [(p.gmacs, p.top1.right) for p in pareto(points)]
    assert set(front) == unbeaten and len(front) == len(unbeaten)
    assert front == sorted(front)


@given(grids, st.integers(0, 20), st.floats(0, 100))
def test_choice_by_accuracy(points: list[SweepPoint], reference: int, loss: float) -> None:
    good = [p for p in points if 100 * p.top1.value >= 100 * reference / 20 - loss - 1e-6]
    if not good:
        with pytest.raises(UsageError, match="the most accurate, eta 0.5 at alpha 0.5, has"):
            choose_by_accuracy(points, Share(reference, 20), loss)
        return
    chosen = choose_by_accuracy(points, Share(reference, 20), loss)
    assert chosen in good
    assert chosen.gmacs == min(p.gmacs for p in good)


@given(grids, st.floats(1, 150))
def test_choice_by_speedup(points: list[SweepPoint], ratio: float) -> None:
    good = [p for p in points if p.gmac_ratio >= ratio]
    if not good:
        with pytest.raises(UsageError, match="the most is"):
            choose_by_speedup(points, ratio)
        return
    chosen = choose_by_speedup(points, ratio)
    assert chosen in good
    assert chosen.top1.right == max(p.top1.right for p in good)


def test_no_loss_is_always_within_reach_of_eta_one() -> None:
    graded = answers(3, 50)
    grid = sweep_points(graded, candidate_etas(graded.confidence), 0.5, COSTS)
    assert choose_by_accuracy(grid, grid[-1].top1, 0.0).top1.right >= grid[-1].top1.right
