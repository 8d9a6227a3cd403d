"""From the weights found in a checkpoint to a network under DeiT's names that computes the same."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.architectures import CLIP_EPS, refuse_arithmetic
from sacvit_deploy.export.containers import Found
from sacvit_deploy.export.features import resized_positions, simplified, unchunked
from sacvit_deploy.export.foreign import refuse_foreign
from sacvit_deploy.export.heads import BIAS, HEAD, dense_network, only_network, with_head
from sacvit_deploy.export.settings_fields import Settings
from sacvit_deploy.export.transformers_names import MARK, from_transformers, joined

# LayerNorm's epsilon where no file says it: timm's and DINOv2's, and that of transformers' ViT and DeiT.
TIMM_EPS, TRANSFORMERS_EPS = 1e-6, 1e-12
PRE_NORM = "norm_pre.weight"  # CLIP's, whose epsilon is torch's own


def network_of(found: Found, settings: Settings, *, start: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """Return the network's weights in fp32 under DeiT's names, with a classifier if it has one, and notes.

    start: it is one to train from, so a classifier that SAC-ViT can't have is left out. Raises CheckpointError for a
    feature that SAC-ViT has no place for, by its name.
    """
    refuse_arithmetic(settings)
    weights = from_transformers(found.weights) if MARK in found.weights else unchunked(found.weights)
    refuse_foreign(weights, found.outside, settings.pool, settings.sources.get("pool"))
    weights = dense_network(joined(weights))
    try:
        weights, notes = with_head(weights, found.outside, settings.reads_pooler)
    except CheckpointError as error:
        if not start:
            raise
        weights, notes = (
            only_network(weights),
            [f"left out its classifier, and what stands beside the network: {error}"],
        )
    weights, told = simplified(weights)
    return weights, [*notes, *told]


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the sizes that show before the network is known, by the names in `config.Geometry`."""
    weight = tensors["patch_embed.proj.weight"]
    blocks = {int(match[1]) for match in (re.match(r"blocks\.(\d+)\.", name) for name in tensors) if match}
    sizes = {"width": weight.shape[0], "depth": len(blocks)}
    return {**sizes, "patch_size": weight.shape[2]} if weight.ndim == 4 else sizes


def norm_eps_of(found: Found, settings: Settings) -> float:
    """Return LayerNorm's epsilon: the files', else the usual one of the layout."""
    if settings.norm_eps is not None:
        return settings.norm_eps
    if MARK in found.weights and not any("layer_scale" in name for name in found.weights):
        return TRANSFORMERS_EPS
    return CLIP_EPS if PRE_NORM in found.weights else TIMM_EPS


def without_head(weights: Mapping[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Return the weights with an empty classifier of `classes` in place of whatever stood there."""
    kept = {name: value for name, value in weights.items() if not re.match(r"head[._]", name)}
    width = weights["patch_embed.proj.weight"].shape[0]
    return {**kept, HEAD: torch.zeros(classes, width), BIAS: torch.zeros(classes)}


def at_size(weights: dict[str, Tensor], image_size: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights for images of another size: the position table is resampled, which changes the network."""
    table, patch = weights.get("pos_embed"), weights["patch_embed.proj.weight"].shape[-1]
    if table is None or table.ndim != 3 or image_size % patch:
        return weights, []
    side, old = image_size // patch, round((table.shape[1] - 1) ** 0.5)
    if side == old:
        return weights, []
    told = f"resampled the position table from {old} x {old} to {side} x {side} for images of {image_size} pixels"
    return {**weights, "pos_embed": resized_positions(table, side)}, [told]
