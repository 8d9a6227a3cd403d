"""Selection of targets in torch, for the reference and, traced, the `gather` engine: what `selection.py` is in numpy.

`PREFERENCES` have casts, comparisons and sums alone, with a batch and an M that may be symbols.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.geometry import window_cover


def choose_targets(scores: Tensor, count: int, config: ModelConfig) -> Tensor:
    """Choose targets [B,M] from scores [B,N] by the model's policy, indices ascending."""
    return select_targets(PREFERENCES[config.method.selection](scores, count, config), count)


def select_targets(scores: Tensor, count: int) -> Tensor:
    """Return the indices [B,M] of the `count` highest scores [B,N], ascending; ties go to the lower index."""
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    return order[:, :count].sort(dim=1).values


def window_sums(scores: Tensor, grid: int, side: int) -> Tensor:
    """Sum scores [B,N] inside each window: [B,W]. The additions are those of `selection.window_sums`, in its order."""
    places, squares = grid - side + 1, scores.reshape(-1, grid, grid)
    across = squares[:, :, :places]
    for shift in range(1, side):
        across = across + squares[:, :, shift : shift + places]
    sums = across[:, :places]
    for shift in range(1, side):
        sums = sums + across[:, shift : shift + places]
    return sums.reshape(-1, places * places)


def within_window(scores: Tensor, count: int, config: ModelConfig) -> Tensor:
    """Keep the scores [B,N] inside the window with the highest sum, the first of equals; elsewhere -inf."""
    grid, side = config.geometry.grid, config.method.region_size
    sums = window_sums(scores, grid, side)
    cover = torch.tensor(window_cover(grid, side), dtype=torch.float32, device=scores.device)
    before = torch.ones(len(cover), len(cover), device=scores.device).tril(-1)
    row, column = sums[:, :, None], sums[:, None, :]
    # [B,W,W]: 1 where the column's window beats the row's; the best is the one that none beats.
    beaten = torch.where(column > row, 1.0, torch.where(column == row, before, 0.0)).sum(2)
    inside = (beaten < 1).float() @ cover
    return torch.where(inside > 0, scores, float("-inf"))


# By policy, in torch what `selection.PREFERENCES` is in numpy; `count` may be a symbol while an engine is traced.
PREFERENCES: dict[str, Callable[[Tensor, int, ModelConfig], Tensor]] = {
    "top_m": lambda scores, count, config: scores,
    "window": within_window,
}
