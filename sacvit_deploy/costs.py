"""MACs of both stages and the plain DeiT, counted as the papers do: matrix products only."""

from __future__ import annotations

from dataclasses import dataclass

from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.geometry import CHILDREN


@dataclass(frozen=True)
class Costs:
    """MACs per image."""

    ee: int
    sac: int
    deit: int

    def cascade(self, continue_fraction: float) -> float:
        """Mean MACs per image when `continue_fraction` of the images continue to stage 2."""
        return self.ee + continue_fraction * self.sac

    def ideal_speedup(self, continue_fraction: float) -> float:
        """MACs of the plain DeiT over those of the cascade: the speed-up if every MAC took the same time."""
        return self.deit / self.cascade(continue_fraction)


def costs(config: ModelConfig, alpha: float | None = None) -> Costs:
    """Count a model's MACs at an alpha, by default the config's."""
    geometry, method = config.geometry, config.method
    n = geometry.tokens
    m = config.num_targets(alpha)
    high, rest = CHILDREN * m, n - m
    # Query-key pairs of one block of stage 2: within each cluster, and what a class token in the union attends to.
    shared = 1 + geometry.registers
    union = shared * (high + rest + shared) if method.class_token == "union" else 0
    clustered = (high + shared) ** 2 + (rest + shared) ** 2 + union
    pairs = clustered if method.attention == "clustered" else (high + rest + shared) ** 2
    embed = geometry.patch_values * geometry.width
    fused = {"none": 0, "repeat": 1, "expand": CHILDREN}[method.fusion]
    fusion = m * 4 * geometry.width**2 * (1 + fused) if fused else 0
    return Costs(
        ee=n * embed + block_macs(geometry, n + shared, (n + shared) ** 2) + head_macs(geometry),
        sac=high * embed + fusion + block_macs(geometry, high + rest + shared, pairs) + head_macs(geometry),
        deit=4 * n * embed + block_macs(geometry, 4 * n + shared, (4 * n + shared) ** 2) + head_macs(geometry),
    )


def block_macs(geometry: Geometry, tokens: int, pairs: int, depth: int | None = None) -> int:
    """Count the MACs of `depth` blocks, by default all, for a number of tokens and query-key pairs.

    Per token: 4 D^2 for qkv and projection, 2 D hidden for the MLP; per pair: 2 D for both attention products.
    """
    width = geometry.width
    block = tokens * (4 * width**2 + 2 * width * geometry.hidden) + 2 * width * pairs
    return (geometry.depth if depth is None else depth) * block


def head_macs(geometry: Geometry) -> int:
    """Count the MACs of the classifier."""
    return geometry.width * geometry.classes
