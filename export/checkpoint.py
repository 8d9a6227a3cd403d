"""Checkpoint files to models and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.export.layouts import recognise
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.reading import METADATA_KEY, read_file
from sacvit_deploy.files import whole_file

# Where training scripts put the weights; averaged weights first, because they are what was evaluated.
CONTAINERS = ("model_ema", "state_dict_ema", "model", "state_dict", "module")
PREFIXES = ("module.", "_orig_mod.")


@dataclass
class Checkpoint:
    """A loaded model with what its file said about itself."""

    model: ReferenceSACViT
    family: str
    labels: list[str] | None = None
    eta: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_checkpoint(
    path: str | os.PathLike[str], *, trust: bool = False, heads: int | None = None, family: str | None = None
) -> Checkpoint:
    """Load any supported checkpoint as a model in eval mode, weights in fp32.

    Raises CheckpointError for files that are not checkpoints, need code (unless `trust`), hold another model, lack or
    have extra weights, have other shapes, or hold NaN or infinity.
    """
    path = Path(path)
    raw = read_file(path, trust=trust)
    try:
        tensors, notes = find_weights(raw)
        own = raw.get(METADATA_KEY)
        if own is not None:
            checkpoint = _own(own, notes)
            _check_wishes(checkpoint.model.config.geometry.heads, heads, family)
        else:
            layout = recognise(tensors, heads=heads, family=family, hint=_model_name(raw))
            checkpoint = Checkpoint(ReferenceSACViT(layout.config), layout.family, notes=notes + layout.notes)
        _fill(checkpoint.model, tensors)
    except (CheckpointError, UsageError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    checkpoint.model.eval()
    return checkpoint


def _check_wishes(known: int, heads: int | None, family: str | None) -> None:
    """Refuse options that contradict the config inside, rather than ignore them."""
    if heads not in (None, known):
        raise CheckpointError(f"its config says {known} heads, not {heads}; leave --heads away")
    if family not in (None, "sac-vit"):
        raise CheckpointError(f"this is a sac-vit checkpoint, not {family}")


def find_weights(raw: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Unwrap containers and prefixes; returns the state dict and what was worth saying."""
    notes = []
    level: Mapping[str, Any] = raw
    while True:
        inner = next((key for key in CONTAINERS if isinstance(level.get(key), Mapping) and level[key]), None)
        if inner is None:
            break
        if inner.endswith("ema") and ("model" in level or "state_dict" in level):
            notes.append(f"took the averaged weights (`{inner}`)")
        level = level[inner]
    tensors = {str(key): value for key, value in level.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError("no weights found in it")
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
                stripped = True
    return tensors, notes


def save_checkpoint(
    path: str | os.PathLike[str],
    model: ReferenceSACViT,
    *,
    labels: list[str] | None = None,
    eta: float = 0.5,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write our own format: safetensors with the config, labels, default eta and provenance in its metadata."""
    said = {"config": model.config.to_dict(), "labels": labels, "eta": eta, "provenance": dict(provenance or {})}
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    with whole_file(Path(path)) as partial:
        safetensors.torch.save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(said)})


def _own(said: Any, notes: list[str]) -> Checkpoint:
    """Build the model from the config inside."""
    if not isinstance(said, Mapping) or not isinstance(said.get("config"), Mapping):
        raise CheckpointError(f"its `{METADATA_KEY}` entry has no config")
    config = ModelConfig.from_dict(said["config"])
    labels, eta = said.get("labels"), said.get("eta", 0.5)
    if labels is not None and (
        not isinstance(labels, list)
        or len(labels) != config.geometry.classes
        or not all(isinstance(label, str) for label in labels)
    ):
        raise CheckpointError(f"its labels are not {config.geometry.classes} strings")
    if not isinstance(eta, (int, float)) or not 0.0 <= eta <= 1.0:
        raise CheckpointError(f"its eta is {eta!r}, not a number between 0 and 1")
    provenance = said.get("provenance") or {}
    if not isinstance(provenance, Mapping):
        raise CheckpointError(f"its provenance is a {type(provenance).__name__}, not an object")
    return Checkpoint(ReferenceSACViT(config), "sac-vit", labels, float(eta), dict(provenance), notes)


def _fill(model: ReferenceSACViT, tensors: Mapping[str, Tensor]) -> None:
    """Copy the weights in after checking names, shapes and values."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in tensors]
    if missing:
        raise CheckpointError(f"{len(missing)} weights are missing, `{missing[0]}` first")
    extra = [key for key in tensors if key not in expected]
    if extra:
        raise CheckpointError(f"{len(extra)} weights have no place in this model, `{extra[0]}` first")
    for key, target in expected.items():
        value = tensors[key]
        if value.shape != target.shape:
            raise CheckpointError(f"`{key}` has shape {list(value.shape)}; the model's is {list(target.shape)}")
        if not value.is_floating_point():
            raise CheckpointError(f"`{key}` holds {value.dtype}, not floating-point weights")
        if not value.isfinite().all():
            raise CheckpointError(f"`{key}` holds NaN or infinity")
    model.load_state_dict({key: tensors[key].float() for key in expected})


def _model_name(raw: Mapping[str, Any]) -> str:
    """The model name that a training script left in `args`, or nothing."""
    args = raw.get("args")
    name = args.get("model", "") if isinstance(args, Mapping) else getattr(args, "model", "")
    return name if isinstance(name, str) else ""
