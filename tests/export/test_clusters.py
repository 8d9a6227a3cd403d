"""The clusters as matrices: who sees whom, and whose values are averaged, against sets of tokens."""

from __future__ import annotations

import pytest
import torch

from sacvit_deploy.export.clusters import HIDDEN, MULTIPLE, Places

N = 9
SIZES = [(4, 8), (16, 5), (32, 1)]  # 4M targets and N - M background tokens


@pytest.mark.parametrize(("targets", "background"), SIZES)
@pytest.mark.parametrize("shared", [1, 3])
@pytest.mark.parametrize("twice", [True, False])
def test_tokens_see_their_cluster(targets: int, background: int, shared: int, twice: bool) -> None:
    places = Places(N, shared, twice=twice)
    facts, padding = places.facts(targets, background)
    end, after = targets + shared, targets + shared * (2 if twice else 1)
    total = after + background
    assert len(facts) == total + padding and len(facts) % MULTIPLE == 0 and 0 <= padding < MULTIPLE
    seen = torch.zeros(len(facts), len(facts), dtype=torch.bool)
    seen[:end, :end] = True
    start = after - shared  # of the background with what it shares
    seen[start:total, start:total] = True
    if not twice:
        seen[targets:end, :total] = True
    seen[total:, total:] = True
    assert torch.equal(places.mask(facts), torch.where(seen, 0.0, HIDDEN))
    assert torch.equal(places.mask(facts).half().float(), places.mask(facts))  # in half precision, too


@pytest.mark.parametrize(("targets", "background"), SIZES)
@pytest.mark.parametrize("shared", [1, 3])
def test_the_two_values_of_a_shared_token_are_averaged(targets: int, background: int, shared: int) -> None:
    places = Places(N, shared, twice=True)
    facts, _ = places.facts(targets, background)
    values = torch.randn(len(facts), 5, generator=torch.Generator().manual_seed(0))
    expected = values.clone()
    first, second = slice(targets, targets + shared), slice(targets + shared, targets + 2 * shared)
    expected[first] = expected[second] = (values[first] + values[second]) / 2
    assert torch.allclose(places.mean(facts) @ values, expected)
