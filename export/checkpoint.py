"""Loading and saving of checkpoints."""

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

# Keys under which training scripts keep the weights; averaged weights first, because those were evaluated.
CONTAINERS = ("model_ema", "state_dict_ema", "model", "state_dict", "module")
PREFIXES = ("module.", "_orig_mod.")


@dataclass
class Checkpoint:
    """Loaded model, with the metadata of the file; `notes` are for the user."""

    model: ReferenceSACViT
    family: str
    labels: list[str] | None = None
    eta: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_checkpoint(
    path: str | os.PathLike[str], *, trust: bool = False, heads: int | None = None, family: str | None = None
) -> Checkpoint:
    """Load a supported checkpoint as a model in eval mode with fp32 weights.

    heads, family: as for `recognise`. Raises CheckpointError for a file that is not a checkpoint, needs code (unless
    `trust`), is of another model, or has missing, extra, misshapen, NaN or infinite weights.
    """
    path = Path(path)
    raw = read_file(path, trust=trust)
    try:
        tensors, notes = find_weights(raw)
        metadata = raw.get(METADATA_KEY)
        if metadata is not None:
            checkpoint = _from_metadata(metadata, notes)
            known = checkpoint.model.config.geometry.heads
            if heads not in (None, known):
                raise CheckpointError(f"its config says {known} heads, not {heads}; leave --heads away")
            if family not in (None, "sac-vit"):
                raise CheckpointError(f"this is a sac-vit checkpoint, not {family}")
        else:
            found, config, told = recognise(tensors, heads=heads, family=family, hint=_model_name(raw))
            checkpoint = Checkpoint(ReferenceSACViT(config), found, notes=notes + told)
        _fill(checkpoint.model, tensors)
    except (CheckpointError, UsageError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    checkpoint.model.eval()
    return checkpoint


def find_weights(raw: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Unwrap containers and prefixes; returns the state dict and notes for the user. Raises CheckpointError."""
    notes = []
    level: Mapping[str, Any] = raw
    while inner := next((key for key in CONTAINERS if isinstance(level.get(key), Mapping) and level[key]), None):
        if inner.endswith("ema") and ("model" in level or "state_dict" in level):
            notes.append(f"took the averaged weights (`{inner}`)")
        level = level[inner]
    tensors = {str(key): value for key, value in level.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError("no weights found in it")
    while prefix := next((text for text in PREFIXES if all(key.startswith(text) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
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
    """Write a SAC-ViT checkpoint: safetensors with config, labels, default eta and provenance as metadata."""
    described = {"config": model.config.to_dict(), "labels": labels, "eta": eta, "provenance": dict(provenance or {})}
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    with whole_file(Path(path)) as partial:
        safetensors.torch.save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(described)})


def _from_metadata(metadata: Any, notes: list[str]) -> Checkpoint:
    """Make a model, its weights still random, from a SAC-ViT checkpoint's metadata. Raises CheckpointError."""
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("config"), Mapping):
        raise CheckpointError(f"its `{METADATA_KEY}` entry has no config")
    config = ModelConfig.from_dict(metadata["config"])
    labels, eta = metadata.get("labels"), metadata.get("eta", 0.5)
    if labels is not None and (
        not isinstance(labels, list)
        or len(labels) != config.geometry.classes
        or not all(isinstance(label, str) for label in labels)
    ):
        raise CheckpointError(f"its labels are not {config.geometry.classes} strings")
    if not isinstance(eta, (int, float)) or not 0.0 <= eta <= 1.0:
        raise CheckpointError(f"its eta is {eta!r}, not a number between 0 and 1")
    provenance = metadata.get("provenance") or {}
    if not isinstance(provenance, Mapping):
        raise CheckpointError(f"its provenance is a {type(provenance).__name__}, not an object")
    return Checkpoint(ReferenceSACViT(config), "sac-vit", labels, float(eta), dict(provenance), notes)


def _fill(model: ReferenceSACViT, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights into the model. Raises CheckpointError for wrong names, shapes or values."""
    expected = model.state_dict()
    if missing := [key for key in expected if key not in tensors]:
        raise CheckpointError(f"{len(missing)} weights are missing, `{missing[0]}` first")
    if extra := [key for key in tensors if key not in expected]:
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
    """Return the model name that a training script left in `args`, or an empty string."""
    args = raw.get("args")
    name = args.get("model", "") if isinstance(args, Mapping) else getattr(args, "model", "")
    return name if isinstance(name, str) else ""
