"""Token arithmetic: the number of targets, the windows of the grid, the hi-res tokens under a low-res one."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Index
from sacvit_deploy.errors import UsageError

CHILDREN = 4  # hi-res tokens under one low-res token


def num_targets(alpha: float, tokens: int, rounding: str = "floor", window: int | None = None) -> int:
    """Return M, the number of target tokens among `tokens`.

    alpha * N, or alpha times the tokens of a `window` where all targets come from one, is rounded down (`floor`, the
    paper) or up (`ceil`, CF-ViT); a product within float error of a whole number counts as that number. Raises
    UsageError unless 1 <= M < N: stage 2 needs both clusters. An alpha of 1 stands for a whole window only.
    """
    if not isinstance(alpha, Real):
        raise UsageError(f"alpha is {alpha!r:.80}; it must be a number between 0 and 1")
    if not (0.0 < alpha < 1.0 or (alpha == 1.0 and window is not None)):  # NaN, too, fails this
        excluded = "both excluded" if window is None else "0 excluded"
        raise UsageError(f"alpha is {alpha}; it must lie between 0 and 1, {excluded}")
    product = alpha * (tokens if window is None else window)
    count = math.floor(product + 1e-9) if rounding == "floor" else math.ceil(product - 1e-9)
    if not 1 <= count < tokens:
        raise UsageError(
            f"alpha {alpha} selects {count} of {tokens} tokens; it must select at least 1 and leave at least 1"
        )
    return count


def window_cover(grid: int, side: int) -> npt.NDArray[np.bool_]:
    """Return [W,N], which of the g x g tokens each of the W side x side windows covers; both row-major."""
    token, first = np.arange(grid), np.arange(grid - side + 1)[:, None]
    along = (first <= token) & (token < first + side)
    return np.asarray(np.kron(along, along))


def child_positions(parents: Index, grid: int) -> Index:
    """Return the hi-res positions of the four children of each low-res token.

    parents: [..., M] indices into the g x g grid, row-major. Result: [..., 4M] indices into the 2g x 2g grid,
    parent-major: the children of one target are adjacent (upper left, upper right, lower left, lower right).
    """
    first = 4 * parents - 2 * (parents % grid)
    offsets = np.array([0, 1, 2 * grid, 2 * grid + 1], dtype=np.int64)
    return (first[..., None] + offsets).reshape(*parents.shape[:-1], -1)
