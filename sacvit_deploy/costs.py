"""Multiply-adds of both stages and of the plain DeiT, counted as the papers do (matrix products only)."""

from __future__ import annotations

from dataclasses import dataclass

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.geometry import CHILDREN, num_targets


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


def _sac_pairs(method: Method, high: int, rest: int) -> int:
    """Query-key pairs of one block of stage 2."""
    if method.attention == "global":
        return (high + rest + 1) ** 2
    union = high + rest + 1 if method.class_token == "union" else 0
    return (high + 1) ** 2 + (rest + 1) ** 2 + union


def _blocks(geometry: Geometry, tokens: int, pairs: int) -> int:
    """qkv and projection (4 D^2), the MLP (2 D hidden), and both attention products (2 D a pair), times depth."""
    width = geometry.width
    return geometry.depth * (tokens * (4 * width**2 + 2 * width * geometry.hidden) + 2 * width * pairs)


def _head(geometry: Geometry) -> int:
    return geometry.width * geometry.classes
