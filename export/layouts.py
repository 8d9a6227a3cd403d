"""Recognition of a state dict: family, geometry, and the method it was trained with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.geometry import CHILDREN

if TYPE_CHECKING:
    from torch import Tensor  # not at run time: the command offers FAMILIES before torch is loaded

# Families, and what the user is told of a checkpoint that has no config inside.
NOTES = {
    "sac-vit": "no config inside: the method's fields take their defaults",
    "cf-vit": "a CF-ViT: served exactly (attention = global, rounding = ceil)",
    "lf-vit": "an LF-ViT: its second stage looks at a window, which this method does not do; stage 1 is exact, stage 2 "
    "is only a start to train from",
    "deit": "a plain DeiT/ViT: it has no fusion weights, so stage 2 runs with fusion = none; it was not trained for "
    "two stages, so expect to fine-tune it before its accuracy is worth anything",
}
FAMILIES = tuple(NOTES)
DEIT = ("cls_token", "patch_embed.proj.weight", "norm.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
REFUSED = {
    "dist_token": "a distilled DeiT (it has a `dist_token`); its second class token has no place in SAC-ViT, so use "
    "the checkpoint without distillation",
    "head_dist.weight": "a distilled DeiT (it has a `head_dist`); use the checkpoint without distillation",
    "aux_head.weight": "an LV-ViT (it has an `aux_head`), whose token labelling and stem SAC-ViT does not have",
}


def recognise(
    tensors: Mapping[str, Tensor], *, heads: int | None = None, family: str | None = None, hint: str = ""
) -> tuple[str, ModelConfig, list[str]]:
    """Infer family and config from names and shapes of the weights; also returns notes for the user.

    heads: width / 64 unless given. family: overrides the guess between CF-ViT and LF-ViT, whose files look alike.
    hint: the model name in the checkpoint's `args`, if any. Raises CheckpointError for other models.
    """
    for key, reason in REFUSED.items():
        if key in tensors:
            raise CheckpointError(f"this is {reason}")
    two_tables = "pos_embed_list.1" in tensors
    table = "pos_embed_list.1" if two_tables else "pos_embed"
    for key in (*DEIT, table):
        if key not in tensors:
            raise CheckpointError(f"this is no DeiT-shaped model: `{key}` is missing")
    if "head.weight" not in tensors:
        raise CheckpointError("this checkpoint has no classifier (`head.weight` is missing)")
    geometry = _geometry(tensors, tensors[table], heads)
    method = Method(fusion=_fusion(tensors, geometry.width))
    if two_tables:
        method = replace(
            method, positions="separate", downsample="bilinear_corners", attention="global", rounding="ceil"
        )
        named_lf = family == "lf-vit" if family else re.search(r"(^|[^a-z])lf[-_]", hint.lower())
        found = "lf-vit" if named_lf else "cf-vit"
    else:
        found = "deit" if method.fusion == "none" else "sac-vit"
    if family not in (None, found):
        raise CheckpointError(f"this looks like a {found} checkpoint, not {family}")
    notes = [NOTES[found]]
    if found == "cf-vit" and family is None and not hint:
        notes.append("an LF-ViT file looks the same; if this is one, say --family lf-vit")
    return found, ModelConfig(geometry, method), notes


def _geometry(tensors: Mapping[str, Tensor], high: Tensor, heads: int | None) -> Geometry:
    """Infer the geometry; `high` is the hi-res position table [1,4N+1,D]. Raises CheckpointError."""
    weight = tensors["patch_embed.proj.weight"]
    if weight.ndim != 4 or weight.shape[1] != 3 or weight.shape[2] != weight.shape[3] or 0 in weight.shape:
        raise CheckpointError(f"`patch_embed.proj.weight` has shape {list(weight.shape)}, not [width, 3, patch, patch]")
    width, patch = int(weight.shape[0]), int(weight.shape[2])
    if high.ndim != 3:
        raise CheckpointError(f"the position table has shape {list(high.shape)}, not [1, tokens, width]")
    side = math.isqrt(max(0, high.shape[1] - 1))
    if side * side != high.shape[1] - 1:
        raise CheckpointError(f"the position table has {high.shape[1]} rows, not a square grid plus a class token")
    numbers = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", key) for key in tensors) if m}
    depth = max(numbers) + 1
    missing = next((number for number in range(depth) if number not in numbers), None)
    if missing is not None:
        raise CheckpointError(f"block {missing} of {depth} is missing")
    if heads is None:
        if width % 64:
            raise CheckpointError(f"the number of heads can't be told from width {width}; say --heads")
        heads = width // 64
    classes, hidden = _rows(tensors, "head.weight"), _rows(tensors, "blocks.0.mlp.fc1.weight")
    try:
        return Geometry(
            image_size=side * patch,
            patch_size=patch,
            width=width,
            depth=depth,
            heads=heads,
            classes=classes,
            mlp_ratio=hidden / width,
        )
    except UsageError as error:
        raise CheckpointError(f"these shapes make no SAC-ViT: {error}") from error


def _fusion(tensors: Mapping[str, Tensor], width: int) -> Literal["repeat", "expand", "none"]:
    """Infer the fusion from the output width of the reuse block. Raises CheckpointError."""
    name = "reuse_block.1.fc2.weight"
    if name not in tensors:
        return "none"
    rows = _rows(tensors, name)
    if rows not in (width, CHILDREN * width):
        raise CheckpointError(f"`{name}` has {rows} rows, neither width nor 4 x width")
    return "repeat" if rows == width else "expand"


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    """Return the number of rows of a weight matrix. Raises CheckpointError where it is none."""
    if tensors[name].ndim != 2:
        raise CheckpointError(f"`{name}` has shape {list(tensors[name].shape)}, not that of a matrix")
    return int(tensors[name].shape[0])
