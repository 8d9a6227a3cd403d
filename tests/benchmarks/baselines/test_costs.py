"""MACs of SaiT and STViT: the numbers of their papers."""

from __future__ import annotations

import math

import pytest

from sacvit_deploy.benchmarks.baselines.costs import SAIT_KEPT, sait_cost, stvit_cost
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import UsageError


def test_costs_are_those_of_the_papers() -> None:
    deit_s = Geometry()
    whole = costs(ModelConfig(deit_s)).deit
    kept = round(SAIT_KEPT * 196)
    assert round(sait_cost(deit_s, kept) / 1e9, 1) == 2.6
    assert 0.39 <= 1 - sait_cost(deit_s, kept) / whole <= 0.45  # the paper: 39 to 43 %, from 4.6 to 2.6
    assert round(1 - stvit_cost(deit_s) / whole, 1) == 0.6  # "nearly 60 %"
    assert sait_cost(deit_s, 196) == whole


def test_what_can_not_be_counted() -> None:
    for kept in (0, 197):
        with pytest.raises(UsageError, match="keep"):
            sait_cost(Geometry(), kept)
    with pytest.raises(UsageError, match="at least 4 blocks"):
        stvit_cost(Geometry(depth=3))
    assert math.isfinite(stvit_cost(Geometry(depth=4)))
