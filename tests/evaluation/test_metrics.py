"""Intervals and scores against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.metrics import Correctness, Share
from sacvit_deploy.glue import continuing

COSTS = Costs(ee=1_000, sac=3_000, deit=5_000)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_where_the_score_test_is_just_not_rejected(case: tuple[int, int]) -> None:
    right, count = case
    low, high = Share(right, count).interval
    assert 0 <= low <= right / count <= high <= 1
    for end in (low, high):
        if 0 < end < 1:  # (share - end)^2 = z^2 end (1 - end) / n defines the interval
            assert math.isclose((right / count - end) ** 2, 1.959964**2 * end * (1 - end) / count, rel_tol=1e-5)
    mirrored = Share(count - right, count).interval
    assert low == pytest.approx(1 - mirrored[1], abs=1e-12)


def test_wilson_known_values() -> None:
    assert Share(0, 0).interval == (0.0, 1.0)
    assert Share(0, 10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert Share(10, 10).interval[1] == 1.0
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


def test_share_of_nothing_is_null_in_json() -> None:
    assert Share(0, 0).to_dict()["value"] is None
    assert Share(0, 0).percent == "-" and Share(5, 7).percent_interval == "71.4 (35.9-91.8)"


def graded(seed: int, count: int) -> Correctness:
    rng = np.random.default_rng(seed)
    confidence = rng.choice([0.2, 0.5, 0.7, 1.0], count) if seed % 2 else rng.random(count)
    return Correctness(confidence, rng.random(count) < 0.5, rng.random(count) < 0.8)


@given(st.integers(0, 999), st.integers(1, 60), st.sampled_from([0.0, 0.2, 0.5, 0.61, 1.0]))
def test_score_follows_the_gate_image_by_image(seed: int, count: int, eta: float) -> None:
    stages = graded(seed, count)
    score = stages.score(eta, COSTS)
    go = [bool(continuing(np.array([[p]]), eta)[0]) for p in stages.confidence]
    right = [s if on else e for e, s, on in zip(stages.ee_right, stages.sac_right, go, strict=True)]
    assert score.top1 == Share(sum(right), count)
    assert score.continue_fraction == sum(go) / count
    assert score.exits.count + score.continuing.count == count
    assert score.gmacs == pytest.approx((1_000 + 3_000 * sum(go) / count) / 1e9)
    assert score.gmac_ratio == pytest.approx(5_000 / (1_000 + 3_000 * sum(go) / count))


@given(st.integers(0, 999), st.integers(1, 60))
def test_the_ends_are_the_stages_alone(seed: int, count: int) -> None:
    stages = graded(seed, count)
    assert stages.score(0.0, COSTS).top1.right == stages.ee_right.sum()
    assert stages.score(1.0, COSTS).top1.right == stages.sac_right.sum()


@pytest.mark.parametrize("eta", [-0.1, 1.01, math.nan])
def test_eta_out_of_range(eta: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        graded(1, 4).score(eta, COSTS)
