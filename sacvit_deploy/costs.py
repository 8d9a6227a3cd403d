"""Multiply-adds of both stages, the plain DeiT and its opponents, counted as the papers do (matrix products only)."""

from __future__ import annotations

from dataclasses import dataclass

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import CHILDREN, num_targets

SAIT_KEPT = 0.43  # of the image tokens: 2.6 G multiply-adds at DeiT-S size, the paper's SaiT-S
SEMANTIC_TOKENS = 16  # STViT's, as in the paper's DeiT models


@dataclass(frozen=True)
class Costs:
    """Multiply-adds a picture."""

    ee: int
    sac: int
    deit: int

    def cascade(self, continue_fraction: float) -> float:
        """Mean multiply-adds when that share of the pictures goes on to stage 2."""
        return self.ee + continue_fraction * self.sac

    def ideal_speedup(self, continue_fraction: float) -> float:
        """How many times fewer multiply-adds than the plain DeiT: the speed-up if all of them ran equally fast."""
        return self.deit / self.cascade(continue_fraction)


def costs(config: ModelConfig, alpha: float | None = None) -> Costs:
    """Count a model's multiply-adds at an alpha (the config's own unless given)."""
    geometry, method = config.geometry, config.method
    n = geometry.tokens
    m = num_targets(method.alpha if alpha is None else alpha, n, method.rounding)
    high, rest = CHILDREN * m, n - m
    pairs = _sac_pairs(method, high, rest)
    embed = geometry.patch_values * geometry.width
    fused = {"none": 0, "repeat": 1, "expand": CHILDREN}[method.fusion]
    fusion = m * 4 * geometry.width**2 * (1 + fused) if fused else 0
    return Costs(
        ee=n * embed + _blocks(geometry, n + 1, (n + 1) ** 2) + _head(geometry),
        sac=high * embed + fusion + _blocks(geometry, high + rest + 1, pairs) + _head(geometry),
        deit=4 * n * embed + _blocks(geometry, 4 * n + 1, (4 * n + 1) ** 2) + _head(geometry),
    )


def sait_dense_blocks(depth: int) -> int:
    """Blocks before SaiT prunes (arXiv 2210.05832): a quarter, as its early block."""
    return max(1, depth // 4)


def sait_cost(geometry: Geometry, kept: int) -> int:
    """Multiply-adds of SaiT with so many image tokens kept. Raises UsageError for a count out of range."""
    tokens = CHILDREN * geometry.tokens
    if not 1 <= kept <= tokens:
        raise UsageError(f"SaiT can't keep {kept} of {tokens} tokens")
    dense = sait_dense_blocks(geometry.depth)
    embed = tokens * geometry.patch_values * geometry.width
    first = _blocks(geometry, tokens + 1, (tokens + 1) ** 2, dense)
    return embed + first + _blocks(geometry, kept + 1, (kept + 1) ** 2, geometry.depth - dense) + _head(geometry)


def stvit_image_blocks(depth: int) -> int:
    """Blocks that see image tokens before STViT generates its own (arXiv 2303.08685): a third.

    Raises UsageError where no block of its own would be left after the two that generate.
    """
    if depth < 4:
        raise UsageError(f"STViT needs at least 4 blocks, and this network has {depth}")
    return depth // 3


def stvit_cost(geometry: Geometry) -> int:
    """Multiply-adds of STViT with 16 semantic tokens. Raises UsageError for a network that is too shallow."""
    tokens, width, few = CHILDREN * geometry.tokens, geometry.width, SEMANTIC_TOKENS
    first = stvit_image_blocks(geometry.depth)
    embed = tokens * geometry.patch_values * width
    # A generating block: queries, projection and MLP for the few, keys and values for all it looks at.
    made = sum(
        few * (2 * width**2 + 2 * width * geometry.hidden) + seen * 2 * width**2 + 2 * width * few * seen
        for seen in (tokens, tokens + few)
    )
    rest = _blocks(geometry, few, few**2, geometry.depth - first - 2)
    return embed + _blocks(geometry, tokens, tokens**2, first) + made + rest + _head(geometry)


def _sac_pairs(method: Method, high: int, rest: int) -> int:
    """Query-key pairs of one block of stage 2."""
    if method.attention == "global":
        return (high + rest + 1) ** 2
    union = high + rest + 1 if method.class_token == "union" else 0
    return (high + 1) ** 2 + (rest + 1) ** 2 + union


def _blocks(geometry: Geometry, tokens: int, pairs: int, depth: int | None = None) -> int:
    """qkv and projection (4 D^2), the MLP (2 D hidden), and both attention products (2 D a pair), times the blocks."""
    width = geometry.width
    one = tokens * (4 * width**2 + 2 * width * geometry.hidden) + 2 * width * pairs
    return (geometry.depth if depth is None else depth) * one


def _head(geometry: Geometry) -> int:
    return geometry.width * geometry.classes
