"""Token shares against pixels, and the random expectation against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.evaluation.coverage import coverage_by_size, measure_coverage, token_shares

GRID, TOKEN = 7, 32
SIDE = GRID * TOKEN


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    left, top = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
    return np.array([[left, top, draw(st.integers(left + 1, SIDE)), draw(st.integers(top + 1, SIDE))]], dtype=float)


@given(boxes())
def test_shares_count_pixels(box: np.ndarray) -> None:
    shares = token_shares(box, GRID, TOKEN)
    canvas = np.zeros((SIDE, SIDE))
    left, top, right, bottom = box[0].astype(int)
    canvas[top:bottom, left:right] = 1
    pixels = canvas.reshape(GRID, TOKEN, GRID, TOKEN).sum(axis=(1, 3)).reshape(1, -1)
    assert np.allclose(shares, pixels / canvas.sum())
    assert shares.sum() == pytest.approx(1)


@given(boxes(), st.integers(1, GRID * GRID - 1), st.integers(0, 99))
def test_random_and_best_are_bounds_and_means(box: np.ndarray, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = token_shares(box, GRID, TOKEN)
    row = measure_coverage(shares, np.sort(rng.permutation(GRID * GRID)[:count])[None])
    assert 0 <= row.covered.model <= row.covered.best + 1e-12 <= 1 + 1e-9
    assert row.covered.random == pytest.approx(count / GRID**2)
    assert row.touching.model <= row.touching.best
    best = measure_coverage(shares, np.sort(np.argsort(-shares, axis=1)[:, :count], axis=1))
    assert best.covered.model == pytest.approx(row.covered.best)
    assert best.touching.model == pytest.approx(row.touching.best)
    everything = [row.covered, row.touching, row.hit]
    assert all(0 <= value <= 1 + 1e-9 for m in everything for value in (m.model, m.random, m.best))


def test_random_expectation_is_what_simulation_gives() -> None:
    rng = np.random.default_rng(0)
    box = np.array([[40.0, 50, 75, 120]])
    shares = np.repeat(token_shares(box, GRID, TOKEN), 20_000, axis=0)
    targets = np.sort(np.argsort(rng.random((20_000, GRID**2)), axis=1)[:, :12], axis=1)
    row = measure_coverage(shares, targets)
    for one in (row.covered, row.touching, row.hit):
        assert one.model == pytest.approx(one.random, abs=0.01)


def test_boxes_without_area_are_left_out() -> None:
    boxes = np.array([[0.0, 0, 32, 32], [224, 10, 224, 20], [100, 100, 120, 130]])
    targets = np.array([[0, 1], [0, 1], [0, 1]])
    rows = coverage_by_size(boxes, np.array([32.0, 20, 30]), targets, GRID, TOKEN)
    assert [(row.group, row.images) for row in rows] == [("28-50 px", 2), ("all", 2)]
    assert rows[-1].covered.model == pytest.approx(0.5)
    assert coverage_by_size(boxes[1:2], np.array([20.0]), targets[1:2], GRID, TOKEN) == []
