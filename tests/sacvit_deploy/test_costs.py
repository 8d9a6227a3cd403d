"""Multiply-adds: the numbers of the papers."""

from __future__ import annotations

import pytest

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import UsageError

DEIT_S = ModelConfig()


def test_deit_s_at_half_the_tokens() -> None:
    count = costs(DEIT_S)
    # 12 blocks of 12 D^2 a token and 2 D a query-key pair, the patch embedding, and 1000 classes.
    tokens, pair, embedding, head = 12 * 12 * 384**2, 12 * 2 * 384, 768 * 384, 384 * 1000
    assert count.deit == 197 * tokens + 197**2 * pair + 196 * embedding + head
    assert count.ee == 50 * tokens + 50**2 * pair + 49 * embedding + head
    # 96 hi-res tokens of 24 targets, 25 of background, the class token in both clusters; an MLP of 8 D^2 a target.
    clusters, fusion = (97**2 + 26**2) * pair, 24 * 8 * 384**2
    assert count.sac == 122 * tokens + clusters + 96 * embedding + fusion + head
    assert [round(value / 1e9, 2) for value in (count.deit, count.ee, count.sac)] == [4.6, 1.1, 2.74]
    assert count.ideal_speedup(0.23) == pytest.approx(2.66, abs=0.005)


def test_small_case_counted_by_hand() -> None:
    # 2x2 and 4x4 grids of 1-pixel patches, one block of width 2, MLP of 8, three classes; one target, three background.
    config = ModelConfig(Geometry(image_size=4, patch_size=1, width=2, depth=1, heads=1, classes=3))
    count = costs(config, 0.25)
    block = 4 * 4 + 2 * 2 * 8
    assert count.ee == 4 * 3 * 2 + 5 * block + 2 * 2 * 25 + 6
    assert count.deit == 16 * 3 * 2 + 17 * block + 2 * 2 * 17**2 + 6
    fusion = 2 * 8 + 8 * 2
    assert count.sac == 4 * 3 * 2 + fusion + 8 * block + 2 * 2 * (5**2 + 4**2) + 6


def test_method_choices_change_the_count() -> None:
    plain = costs(DEIT_S).sac
    assert costs(ModelConfig(method=Method(fusion="none"))).sac < plain
    assert costs(ModelConfig(method=Method(fusion="expand"))).sac > plain
    assert costs(ModelConfig(method=Method(attention="global"))).sac > plain
    assert costs(ModelConfig(method=Method(class_token="union"))).sac > plain
    assert costs(DEIT_S, 0.3).sac < plain < costs(DEIT_S, 0.7).sac


def test_nobody_and_everybody_continuing() -> None:
    count = costs(DEIT_S)
    assert count.cascade(0.0) == count.ee
    assert count.cascade(1.0) == count.ee + count.sac


def test_alpha_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError):
        costs(DEIT_S, 1.0)
