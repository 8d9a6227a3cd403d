"""Selection of stage 2's targets from stage 1's scores, by the model's policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.geometry import window_cover


def choose_targets(scores: Array, count: int, config: ModelConfig) -> Index:
    """Choose M = `count` targets [B,M] from finite scores [B,N] by the model's policy, indices ascending."""
    return select_targets(PREFERENCES[config.method.selection](scores, count, config), count)


def select_targets(scores: Array, count: int) -> Index:
    """Select the M = `count` highest of scores [B,N]: indices [B,M] ascending, ties to the lower index."""
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :count], axis=1)


def window_sums(scores: Array, grid: int, side: int) -> Array:
    """Sum scores [B,N] inside each side x side window of the g x g grid: [B,W], W = (g - side + 1)^2, row-major.

    The order of the additions is fixed, along a row from left to right, then down the rows: so numpy, torch, the
    `gather` engine and C++ have the same sums to the last bit, and the same window wins.
    """
    places, squares = grid - side + 1, scores.reshape(-1, grid, grid)
    across = squares[:, :, :places]
    for shift in range(1, side):
        across = across + squares[:, :, shift : shift + places]
    sums = across[:, :places]
    for shift in range(1, side):
        sums = sums + across[:, shift : shift + places]
    return sums.reshape(-1, places * places)


def within_window(scores: Array, count: int, config: ModelConfig) -> Array:
    """Keep the scores [B,N] inside the window with the highest sum, the first of equals; elsewhere -inf."""
    grid, side = config.geometry.grid, config.method.region_size
    best = window_sums(scores, grid, side).argmax(axis=1)
    return np.where(window_cover(grid, side)[best], scores, -np.inf)


# By policy: from scores [B,N], M and the config, the values [B,N] whose M highest are the targets. export/policies.py
# has the same functions in torch, for the reference and the `gather` engine.
PREFERENCES: dict[str, Callable[[Array, int, ModelConfig], Array]] = {
    "top_m": lambda scores, count, config: scores,
    "window": within_window,
}
