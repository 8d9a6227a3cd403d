"""Token arithmetic: counts of target tokens, and eq. 11."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import child_positions, num_targets, window_cover


@given(grid=st.integers(2, 24), data=st.data())
def test_children_are_the_four_cells_under_the_parent(grid: int, data: st.DataObject) -> None:
    parent = data.draw(st.integers(0, grid * grid - 1))
    row, column = divmod(parent, grid)
    cells = [(2 * row + down) * 2 * grid + 2 * column + right for down in (0, 1) for right in (0, 1)]
    assert child_positions(np.array([parent]), grid).tolist() == cells


@given(grid=st.integers(2, 24))
def test_children_of_all_parents_partition_the_fine_grid(grid: int) -> None:
    children = child_positions(np.arange(grid * grid), grid)
    assert sorted(children.tolist()) == list(range(4 * grid * grid))


def test_children_keep_batches_apart_and_stand_together_by_parent() -> None:
    parents = np.array([[0, 8], [7, 48]])
    children = child_positions(parents, 7)
    assert children.shape == (2, 8)
    assert children.tolist() == [[*_cells(0), *_cells(8)], [*_cells(7), *_cells(48)]]


def _cells(parent: int) -> list[int]:
    row, column = divmod(parent, 7)
    first = 28 * row + 2 * column
    return [first, first + 1, first + 14, first + 15]


@pytest.mark.parametrize(
    ("alpha", "tokens", "floor", "ceil"),
    [
        (0.5, 49, 24, 25),
        (0.5, 81, 40, 41),
        (0.29, 100, 29, 29),  # 28.999999999999996 in floats
        (0.07, 100, 7, 7),  # 7.000000000000001 in floats
        (0.9, 49, 44, 45),
        (1 / 49, 49, 1, 1),
        (0.97, 49, 47, 48),
        (1 / 3, 81, 27, 27),
    ],
)
def test_number_of_targets(alpha: float, tokens: int, floor: int, ceil: int) -> None:
    assert num_targets(alpha, tokens) == num_targets(alpha, tokens, "floor") == floor
    assert num_targets(alpha, tokens, "ceil") == ceil


@given(percent=st.integers(1, 99), tokens=st.integers(100, 1024))
def test_number_of_targets_is_that_of_exact_arithmetic(percent: int, tokens: int) -> None:
    exact = Fraction(percent, 100) * tokens
    assert num_targets(percent / 100, tokens, "floor") == math.floor(exact)
    if math.ceil(exact) < tokens:
        assert num_targets(percent / 100, tokens, "ceil") == math.ceil(exact)


@pytest.mark.parametrize(
    ("alpha", "window", "floor", "ceil"),
    [(0.88, 25, 22, 22), (0.9, 25, 22, 23), (1.0, 25, 25, 25), (0.29, 100, 29, 29)],
)
def test_alpha_is_the_share_of_a_window(alpha: float, window: int, floor: int, ceil: int) -> None:
    assert [num_targets(alpha, 144, way, window) for way in ("floor", "ceil")] == [floor, ceil]


@pytest.mark.parametrize(
    ("alpha", "window", "message"), [(0.0, 25, "alpha is"), (1.01, 25, "alpha is"), (1.0, 49, "49 of 49")]
)
def test_alpha_of_a_window_is_refused_too(alpha: float, window: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        num_targets(alpha, 49, "floor", window)


@given(grid=st.integers(1, 9), data=st.data())
def test_windows_cover_squares_row_by_row(grid: int, data: st.DataObject) -> None:
    side = data.draw(st.integers(1, grid))
    squares = window_cover(grid, side).reshape(-1, grid, grid)
    corners = [(y, x) for y in range(grid - side + 1) for x in range(grid - side + 1)]
    assert len(squares) == len(corners)
    for (y, x), square in zip(corners, squares, strict=True):
        assert square[y : y + side, x : x + side].all() and square.sum() == side**2


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf, -math.inf])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha is"):
        num_targets(alpha, 49)


@pytest.mark.parametrize(("alpha", "rounding"), [(0.02, "floor"), (0.99, "ceil"), (1e-12, "floor")])
def test_an_empty_cluster_is_refused(alpha: float, rounding: str) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        num_targets(alpha, 49, rounding)
