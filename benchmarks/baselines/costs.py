"""MACs of SaiT and STViT, counted as their papers do: matrix products only."""

from __future__ import annotations

from sacvit_deploy.config import Geometry
from sacvit_deploy.costs import block_macs, head_macs
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import CHILDREN

SAIT_KEPT = 0.43  # share of the image tokens: 2.6 GMACs at DeiT-S size, the paper's SaiT-S
SEMANTIC_TOKENS = 16  # STViT's, as in the paper's DeiT models


def sait_dense_blocks(depth: int) -> int:
    """Return the number of blocks before SaiT prunes (arXiv 2210.05832): a quarter of the depth."""
    return max(1, depth // 4)


def sait_cost(geometry: Geometry, kept: int) -> int:
    """Count the MACs of SaiT with `kept` image tokens. Raises UsageError for a count out of range."""
    tokens = CHILDREN * geometry.tokens
    if not 1 <= kept <= tokens:
        raise UsageError(f"SaiT can't keep {kept} of {tokens} tokens")
    dense = sait_dense_blocks(geometry.depth)
    embed = tokens * geometry.patch_values * geometry.width
    first = block_macs(geometry, tokens + 1, (tokens + 1) ** 2, dense)
    return embed + first + block_macs(geometry, kept + 1, (kept + 1) ** 2, geometry.depth - dense) + head_macs(geometry)


def stvit_image_blocks(depth: int) -> int:
    """Return the number of blocks before STViT generates semantic tokens (arXiv 2303.08685): a third of the depth.

    Raises UsageError where no block would be left after the two that generate.
    """
    if depth < 4:
        raise UsageError(f"STViT needs at least 4 blocks, and this network has {depth}")
    return depth // 3


def stvit_cost(geometry: Geometry) -> int:
    """Count the MACs of STViT with 16 semantic tokens. Raises UsageError for a network that is too shallow."""
    tokens, width, few = CHILDREN * geometry.tokens, geometry.width, SEMANTIC_TOKENS
    first = stvit_image_blocks(geometry.depth)
    embed = tokens * geometry.patch_values * width
    # A generating block: queries, projection and MLP for the few, keys and values for all that they attend to.
    generating = sum(
        few * (2 * width**2 + 2 * width * geometry.hidden) + keys * 2 * width**2 + 2 * width * few * keys
        for keys in (tokens, tokens + few)
    )
    rest = block_macs(geometry, few, few**2, geometry.depth - first - 2)
    return embed + block_macs(geometry, tokens, tokens**2, first) + generating + rest + head_macs(geometry)
