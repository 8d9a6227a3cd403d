"""Recognition of a state dict: family, geometry, and the method it was trained with."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor  # not at run time: the command offers FAMILIES before torch is loaded

FAMILIES = ("sac-vit", "cf-vit", "lf-vit", "deit")
REFUSED = {
    "dist_token": "a distilled DeiT (it has a `dist_token`); its second class token has no place in SAC-ViT, so use "
    "the checkpoint without distillation",
    "head_dist.weight": "a distilled DeiT (it has a `head_dist`); use the checkpoint without distillation",
    "aux_head.weight": "an LV-ViT (it has an `aux_head`), whose token labelling and stem SAC-ViT does not have",
}


@dataclass
class Layout:
    """Family and config of a state dict; `notes` are for the user."""

    family: str
    config: ModelConfig
    notes: list[str] = field(default_factory=list)


def recognise(
    tensors: Mapping[str, Tensor], *, heads: int | None = None, family: str | None = None, hint: str = ""
) -> Layout:
    """Infer family, geometry and method from names and shapes of the weights.

    heads: width / 64 unless given. family: overrides the guess between CF-ViT and LF-ViT, whose files look alike.
    hint: the model name in the checkpoint's `args`, if any. Raises CheckpointError for other models.
    """
    for key, reason in REFUSED.items():
        if key in tensors:
            raise CheckpointError(f"this is {reason}")
    for key in ("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"):
        if key not in tensors:
            raise CheckpointError(f"this is no DeiT-shaped model: `{key}` is missing")
    if "head.weight" not in tensors:
        raise CheckpointError("this checkpoint has no classifier (`head.weight` is missing)")
    two_tables = "pos_embed_list.1" in tensors
    high = tensors.get("pos_embed_list.1" if two_tables else "pos_embed")
    if high is None:
        raise CheckpointError("this is no DeiT-shaped model: `pos_embed` is missing")
    geometry = _geometry(tensors, high, heads)
    fusion = _fusion(tensors, geometry.width)
    base = Method(fusion=fusion)
    if two_tables:
        layout = _cf_vit_or_lf_vit(geometry, base, family, hint)
    elif fusion == "none":
        note = (
            "a plain DeiT/ViT: it has no fusion weights, so stage 2 runs with fusion = none; it was not trained for "
            "two stages, so expect to fine-tune it before its accuracy is worth anything"
        )
        layout = Layout("deit", ModelConfig(geometry, base), [note])
    else:
        note = "no config inside: the method's fields take their defaults"
        layout = Layout("sac-vit", ModelConfig(geometry, base), [note])
    if family is not None and family != layout.family:
        raise CheckpointError(f"this looks like a {layout.family} checkpoint, not {family}")
    return layout


def _cf_vit_or_lf_vit(geometry: Geometry, base: Method, family: str | None, hint: str) -> Layout:
    """Lay out a CF-ViT or LF-ViT: two position tables, bilinear downsampling, attention over all tokens."""
    method = dataclasses.replace(
        base, positions="separate", downsample="bilinear_corners", attention="global", rounding="ceil"
    )
    guessed = "lf-vit" if re.search(r"(^|[^a-z])lf[-_]", hint.lower()) else "cf-vit"
    kind = family or guessed
    if kind == "lf-vit":
        note = (
            "an LF-ViT: its second stage looks at a window, which this method does not do; stage 1 is exact, stage 2 "
            "is only a start to train from"
        )
        return Layout("lf-vit", ModelConfig(geometry, method), [note])
    notes = ["a CF-ViT: served exactly (attention = global, rounding = ceil)"]
    if family is None and not hint:
        notes.append("an LF-ViT file looks the same; if this is one, say --family lf-vit")
    return Layout("cf-vit", ModelConfig(geometry, method), notes)


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
    if len(numbers) != depth:
        missing = next(number for number in range(depth) if number not in numbers)
        raise CheckpointError(f"block {missing} of {depth} is missing")
    if heads is None:
        if width % 64:
            raise CheckpointError(f"the number of heads can't be told from width {width}; say --heads")
        heads = width // 64
    fc1 = tensors.get("blocks.0.mlp.fc1.weight")
    if fc1 is None:
        raise CheckpointError("this is no DeiT-shaped model: `blocks.0.mlp.fc1.weight` is missing")
    classes, hidden = _rows("head.weight", tensors["head.weight"]), _rows("blocks.0.mlp.fc1.weight", fc1)
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
    last = tensors.get("reuse_block.1.fc2.weight")
    if last is None:
        return "none"
    rows = _rows("reuse_block.1.fc2.weight", last)
    if rows == width:
        return "repeat"
    if rows == 4 * width:
        return "expand"
    raise CheckpointError(f"`reuse_block.1.fc2.weight` has {rows} rows, neither width nor 4 x width")


def _rows(name: str, matrix: Tensor) -> int:
    """Return the number of rows of a weight matrix. Raises CheckpointError where it is none."""
    if matrix.ndim != 2:
        raise CheckpointError(f"`{name}` has shape {list(matrix.shape)}, not that of a matrix")
    return int(matrix.shape[0])
