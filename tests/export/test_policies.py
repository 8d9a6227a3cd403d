"""Selection of targets in torch: by its definition, and to the last bit what the runtime's is in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy import selection
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.export.model import background_tokens
from sacvit_deploy.export.policies import choose_targets, select_targets, window_sums


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [
        ([0.1, 0.9, 0.5, 0.7], 2, [1, 3]),
        ([0.9, 0.1, 0.5, 0.7], 3, [0, 2, 3]),
        ([0.5, 0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.1, 0.5, 0.5, 0.5], 2, [1, 2]),
        ([0.5, 0.1, 0.5, 0.9], 2, [0, 3]),
        ([0.0, -0.0, 0.0, -0.0], 3, [0, 1, 2]),
    ],
)
def test_selection_breaks_ties_towards_the_lower_index(scores: list[float], count: int, expected: list[int]) -> None:
    assert select_targets(torch.tensor([scores]), count).tolist() == [expected]


@given(
    # Few different values over many tokens, so that most selections cut through a tie.
    scores=st.lists(st.lists(st.integers(0, 3), min_size=49, max_size=49), min_size=1, max_size=3),
    count=st.integers(1, 48),
)
def test_selection_is_what_sorting_by_score_and_index_gives(scores: list[list[int]], count: int) -> None:
    targets = select_targets(torch.tensor(scores, dtype=torch.float32), count)
    rest = background_tokens(targets, 49)
    for row, values in enumerate(scores):
        order = sorted(range(49), key=lambda token: (-values[token], token))
        assert targets[row].tolist() == sorted(order[:count])
        assert rest[row].tolist() == sorted(order[count:])


@pytest.mark.parametrize("policy", sorted(selection.PREFERENCES))
@given(grid=st.integers(3, 9), ties=st.booleans(), data=st.data())
def test_a_policy_in_torch_chooses_what_it_does_in_numpy(
    policy: str, grid: int, ties: bool, data: st.DataObject
) -> None:
    side, alpha = data.draw(st.integers(2, grid)), data.draw(st.floats(0.1, 0.8))
    config = ModelConfig(
        Geometry(image_size=32 * grid), Method(selection=policy, region_size=side, alpha=alpha, rounding="ceil")
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    scores = (rng.integers(0, 3, (3, grid**2)) / 3 if ties else rng.random((3, grid**2))).astype(np.float32)
    count = config.num_targets()
    given_scores = torch.from_numpy(scores)
    sums = window_sums(given_scores, grid, side)
    np.testing.assert_array_equal(sums.numpy(), selection.window_sums(scores, grid, side))
    targets = choose_targets(given_scores, count, config)
    np.testing.assert_array_equal(targets.numpy(), selection.choose_targets(scores, count, config))
