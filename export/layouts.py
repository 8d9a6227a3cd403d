"""Recognition of a network by names and shapes of its weights: family, geometry, and the method it was trained with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.export.architectures import guess_heads
from sacvit_deploy.export.families import two_table_method
from sacvit_deploy.geometry import CHILDREN

if TYPE_CHECKING:
    from torch import Tensor  # not at run time: the command offers FAMILIES before torch is loaded

# Families, and what the user is told of a checkpoint that has no config inside.
NOTES = {
    "sac-vit": "no config inside: the method's fields take their defaults",
    "cf-vit": "a CF-ViT: served exactly (attention = global, rounding = ceil)",
    "lf-vit": "an LF-ViT: served exactly (selection = window of 5 x 5, attention = global, rounding = ceil)",
    "deit": "a plain DeiT/ViT: it has no fusion weights, so stage 2 runs with fusion = none; it was not trained for "
    "two stages, so expect to fine-tune it before its accuracy is worth anything",
}
FAMILIES = tuple(NOTES)
# What it means that a weight is not there.
ABSENT = {
    "pos_embed": "it has no position table (`pos_embed`): rotary positions, as DINOv3's are, or none",
    "norm.weight": "it has no norm between its last block and its classifier, and SAC-ViT's has",
}
# The lists of costs that the authors' scripts leave beside the weights.
MARKS = {"flop": "cf-vit", "flops": "lf-vit"}
DEIT = ("cls_token", "patch_embed.proj.weight", "norm.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")


@dataclass(frozen=True)
class Hints:
    """What is known of a network beside its weights: the user's word, its files, and the entries beside the weights.

    family: overrides the guess between CF-ViT and LF-ViT, whose weights look alike. beside: names of the entries beside
    the weights. name: the model's, from the checkpoint's `args`.
    """

    heads: int | None = None
    norm_eps: float = 1e-6
    family: str | None = None
    beside: frozenset[str] = frozenset()
    name: str = ""


class Recognised(NamedTuple):
    """Family and config of a network, notes for the user, and its heads with the reason where they are guessed."""

    family: str
    config: ModelConfig
    notes: list[str]
    heads: tuple[int, str] | None


def recognise(tensors: Mapping[str, Tensor], hints: Hints) -> Recognised:
    """Infer family and config. Raises CheckpointError for other models."""
    two_tables = "pos_embed_list.1" in tensors
    table = "pos_embed_list.1" if two_tables else "pos_embed"
    for key in (*DEIT, table):
        if key not in tensors:
            told = f"; {ABSENT[key]}" if key in ABSENT else ""
            raise CheckpointError(f"this is no DeiT-shaped model: `{key}` is missing{told}")
    geometry, heads = _geometry(tensors, tensors[table], hints)
    fusion = _fusion(tensors, geometry.width)
    if two_tables:
        found = hints.family if hints.family in MARKS.values() else _named(hints)
        method = replace(two_table_method("lf-vit" if found == "lf-vit" else "cf-vit"), fusion=fusion)
    else:
        found, method = "deit" if fusion == "none" else "sac-vit", Method(fusion=fusion)
    if hints.family not in (None, found or "cf-vit"):
        looks = found or "cf-vit"
        raise CheckpointError(f"this looks like a {looks} checkpoint, not {hints.family}; leave --family away")
    notes = [NOTES[found or "cf-vit"]]
    if found is None:
        notes.append("an LF-ViT's weights look the same; if this is one, say --family lf-vit")
    return Recognised(found or "cf-vit", ModelConfig(geometry, method), notes, heads)


def _named(hints: Hints) -> str | None:
    """Return the family that a two-table checkpoint names, by its model's name or its costs; None if it names none."""
    found = re.search(r"(?:^|[^a-z])(cf|lf)[-_]", hints.name.lower())
    if found:
        return f"{found[1]}-vit"
    return next((family for mark, family in MARKS.items() if mark in hints.beside), None)


def _geometry(tensors: Mapping[str, Tensor], high: Tensor, hints: Hints) -> tuple[Geometry, tuple[int, str] | None]:
    """Infer the geometry, and the guess of its heads; `high` is the hi-res position table [1,4N+1,D].

    Raises CheckpointError.
    """
    weight = tensors["patch_embed.proj.weight"]
    if weight.ndim == 4 and weight.shape[1] in (1, 2, 4):
        raise CheckpointError(f"its images have {counted(weight.shape[1], 'channel')}, and the runtime's are RGB")
    if weight.ndim != 4 or weight.shape[1] != 3 or weight.shape[2] != weight.shape[3] or 0 in weight.shape:
        raise CheckpointError(f"`patch_embed.proj.weight` has shape {list(weight.shape)}, not [width, 3, patch, patch]")
    width, patch = int(weight.shape[0]), int(weight.shape[2])
    if high.ndim != 3:
        raise CheckpointError(f"the position table has shape {list(high.shape)}, not [1, tokens, width]")
    side = math.isqrt(max(0, high.shape[1] - 1))
    if side * side != high.shape[1] - 1:
        raise CheckpointError(
            f"the position table has {high.shape[1]} rows, not a square grid plus a class token, so its images are "
            "oblong or it has further tokens; SAC-ViT's are square"
        )
    numbers = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", key) for key in tensors) if m}
    depth = max(numbers) + 1
    missing = next((number for number in range(depth) if number not in numbers), None)
    if missing is not None:
        raise CheckpointError(f"block {missing} of {depth} is missing")
    classes, hidden = _rows(tensors, "head.weight"), _rows(tensors, "blocks.0.mlp.fc1.weight")
    guess = guess_heads(width, depth, hidden, hints.name) if hints.heads is None else None
    heads = guess[0] if guess is not None else hints.heads or 1
    if classes == 1:
        raise CheckpointError(
            "it has one output, so every answer would be certain; give a model of two classes or more"
        )
    registers = tensors.get("reg_token")
    try:
        geometry = Geometry(
            image_size=side * patch,
            patch_size=patch,
            width=width,
            depth=depth,
            heads=heads,
            classes=classes,
            mlp_ratio=hidden / width,
            norm_eps=hints.norm_eps,
            registers=0 if registers is None or registers.ndim != 3 else int(registers.shape[1]),
            pre_norm="norm_pre.weight" in tensors,
        )
    except UsageError as error:
        if hints.heads is not None and width % hints.heads:
            raise CheckpointError(f"these shapes make no SAC-ViT: {error}; --heads says how many it has") from error
        # One patch fewer a side, and there is a half-size view.
        way_out = f"; `sacvit train --init` takes it with --image-size {(side - 1) * patch}" if side % 2 else ""
        raise CheckpointError(f"these shapes make no SAC-ViT: {error}{way_out}") from error
    return geometry, guess


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
