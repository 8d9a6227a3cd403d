"""The model a run starts from: random weights, or those of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.containers import Choice
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.overrides import Overrides

SIZES = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12)}  # width and depth, as DeiT's
HEAD_WIDTH = 64  # as DeiT's


def method_fields(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parse the values of `--method`: `("background=features",)` -> {"background": "features"}, numbers as numbers."""
    chosen: dict[str, Any] = {}
    known = {field.name for field in fields(Method)}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--method {pair}: write FIELD=VALUE, FIELD one of {', '.join(sorted(known))}")
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen


def fresh(geometry: Geometry, method: Mapping[str, Any], preprocessing: Preprocessing, seed: int) -> ReferenceSACViT:
    """Build a model with random weights. method: fields that differ from the defaults."""
    sections = {"geometry": asdict(geometry), "method": method, "preprocessing": asdict(preprocessing)}
    torch.manual_seed(seed)
    return ReferenceSACViT(ModelConfig.from_dict(sections))


def from_weights(
    path: Path,
    classes: int,
    method: Mapping[str, Any],
    seed: int,
    overrides: Overrides | None = None,
    *,
    image_size: int | None = None,
    weights: Choice | None = None,
    heads: int | None = None,
    family: str | None = None,
) -> tuple[ReferenceSACViT, list[str]]:
    """Build a model of `classes` classes with a checkpoint's weights; also returns notes for the user.

    A plain DeiT gets SAC-ViT's default method, others keep theirs; `method` overrides single fields. The preprocessing
    is the checkpoint's unless `overrides` says otherwise; for another `image_size` the position table is resampled, and
    a network without a classifier, such as DINOv2's, will do. Parameters without a counterpart of the same shape, like
    the classifier for other classes, start fresh. weights, heads, family: as `load_checkpoint`. Raises CheckpointError.
    """
    checkpoint = load_checkpoint(
        path, overrides=overrides, start=True, image_size=image_size, weights=weights, heads=heads, family=family
    )
    config = checkpoint.model.config
    base = Method() if checkpoint.family == "deit" else config.method
    geometry = replace(config.geometry, classes=classes)
    model = fresh(geometry, {**asdict(base), **method}, config.preprocessing, seed)
    read, own = weights_for(model.config.method.positions, checkpoint.model), model.state_dict()
    if checkpoint.headless:
        read = {key: value for key, value in read.items() if not key.startswith("head.")}
    taken = {key: value for key, value in read.items() if key in own and own[key].shape == value.shape}
    model.load_state_dict(own | taken)
    new = sorted({key.split(".")[0] for key in own if key not in taken})
    notes = [*checkpoint.notes, f"took {len(taken)} of {len(own)} weights from {path.name} ({checkpoint.family})"]
    if new:
        notes.append(f"these start fresh: {', '.join(new)}")
    return model, notes


def weights_for(positions: str, model: ReferenceSACViT) -> dict[str, Tensor]:
    """Return a model's weights, with the position tables in the layout that `positions` asks for."""
    weights: dict[str, Tensor] = dict(model.state_dict())
    if positions == model.config.method.positions:
        return weights
    low, high = model.low_positions().detach(), model.high_positions().detach()
    kept = {key: value for key, value in weights.items() if not key.startswith("pos_embed")}
    if positions == "shared":
        return kept | {"pos_embed": high}
    return kept | {"pos_embed_list.0": low, "pos_embed_list.1": high}
