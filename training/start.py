"""The model a run begins with: fresh, or from the weights of another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.model import ReferenceSACViT

SIZES = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12)}  # width and depth, as DeiT's
HEAD_WIDTH = 64


def choices(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`("background=features",)` -> {"background": "features"}; numbers are read as numbers."""
    found: dict[str, Any] = {}
    known = {field.name for field in dataclasses.fields(Method)}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--method {pair}: write FIELD=VALUE, FIELD one of {', '.join(sorted(known))}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def fresh(geometry: Geometry, method: Mapping[str, Any], preprocessing: Preprocessing, seed: int) -> ReferenceSACViT:
    """A model with random weights."""
    config = ModelConfig.from_dict(
        {
            "geometry": dataclasses.asdict(geometry),
            "method": dataclasses.asdict(Method()) | dict(method),
            "preprocessing": dataclasses.asdict(preprocessing),
        }
    )
    torch.manual_seed(seed)
    return ReferenceSACViT(config)


def from_weights(path: Path, classes: int, method: Mapping[str, Any], seed: int) -> tuple[ReferenceSACViT, list[str]]:
    """A model with another's weights and `classes` classes; returns what was worth saying.

    A plain DeiT gets SAC-ViT's default method, others keep theirs; `method` overrides single fields. What has no
    counterpart of the same shape, such as the classifier for other classes, starts fresh. Raises CheckpointError.
    """
    found = load_checkpoint(path)
    old = found.model.config
    base = Method() if found.family == "deit" else old.method
    geometry = dataclasses.replace(old.geometry, classes=classes)
    model = fresh(geometry, dataclasses.asdict(base) | dict(method), old.preprocessing, seed)
    weights, own = weights_for(model.config.method.positions, found.model), model.state_dict()
    taken = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    model.load_state_dict(own | taken)
    new = sorted({key.split(".")[0] for key in own if key not in taken})
    notes = [f"took {len(taken)} of {len(own)} weights from {path.name} ({found.family})"]
    if new:
        notes.append(f"these start fresh: {', '.join(new)}")
    return model, notes


def weights_for(positions: str, model: ReferenceSACViT) -> dict[str, Tensor]:
    """A model's weights, its position tables as the other choice of `positions` keeps them."""
    weights: dict[str, Tensor] = dict(model.state_dict())
    if positions == model.config.method.positions:
        return weights
    low, high = model.low_positions().detach(), model.high_positions().detach()
    kept = {key: value for key, value in weights.items() if not key.startswith("pos_embed")}
    if positions == "shared":
        return kept | {"pos_embed": high}
    return kept | {"pos_embed_list.0": low, "pos_embed_list.1": high}
