"""Loading and saving of checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sacvit_deploy.bundle.label_file import check_names
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import CheckpointError, LabelError, UsageError
from sacvit_deploy.export.architectures import assumptions
from sacvit_deploy.export.bounds import check_weights
from sacvit_deploy.export.containers import Choice, Found, find_weights
from sacvit_deploy.export.features import incomplete
from sacvit_deploy.export.heads import HEAD, refuse_numbers
from sacvit_deploy.export.layouts import MARKS, Hints, recognise
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.network import at_size, network_of, norm_eps_of, sizes_of, without_head
from sacvit_deploy.export.overrides import Overrides, labels_of, preprocessing_of
from sacvit_deploy.export.reading import METADATA_KEY
from sacvit_deploy.export.settings import SIZES, Settings, contradictions, read_settings
from sacvit_deploy.export.settings_inside import model_name
from sacvit_deploy.export.settings_network import own_normalisation
from sacvit_deploy.export.source import Source, open_source
from sacvit_deploy.export.strangers import strangers_note
from sacvit_deploy.export.tensors import dense, narrow_notes
from sacvit_deploy.files import whole_file

# What CF-ViT's and LF-ViT's published code fixes, so that their files leave nothing but the heads to guess.
PUBLISHED: dict[str, Any] = {"pool": "token", "activation": "gelu", "norm_eps": 1e-6, "image_size": 0}


@dataclass
class Checkpoint:
    """Loaded model, with the metadata of the file; `notes` are for the user.

    files: those with the weights, and title what the user calls them. headless: they have no classifier, so the model's
    is empty; only where that was asked for.
    """

    model: ReferenceSACViT
    family: str
    labels: list[str] | None = None
    eta: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    headless: bool = False
    title: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Loading:
    """What the caller of `load_checkpoint` says of a checkpoint."""

    heads: int | None
    family: str | None
    overrides: Overrides
    start: bool
    image_size: int | None


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    trust: bool = False,
    heads: int | None = None,
    family: str | None = None,
    weights: Choice | None = None,
    overrides: Overrides | None = None,
    start: bool = False,
    image_size: int | None = None,
) -> Checkpoint:
    """Load a supported checkpoint as a model in eval mode with fp32 weights.

    path: a file, a folder, or `hf-hub:OWNER/NAME`. trust: let it run code. heads, family: as for `Hints`. weights: as
    for `find_weights`. overrides: of preprocessing and labels. start: it is one to train from, whose classifier may be
    missing and whose position table may be resampled for images of `image_size`. Raises CheckpointError for a file that
    is not a checkpoint, needs code (unless trusted), is of another model, contradicts the files beside it, or has
    missing, extra, misshapen, NaN or infinite weights.
    """
    loading = _Loading(heads, family, overrides or Overrides(), start, image_size)
    source = open_source(path, trust=trust)
    try:
        found = find_weights(source.raw, weights)
        if METADATA_KEY in source.raw:
            checkpoint, tensors = _own(source.raw[METADATA_KEY], found, loading)
        else:
            checkpoint, tensors = _foreign(source, found, loading)
        _fill(checkpoint.model, tensors)
    except (CheckpointError, UsageError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error
    checkpoint.model.eval()
    checkpoint.title, checkpoint.files = source.name, source.weights
    return checkpoint


def _own(metadata: Any, found: Found, loading: _Loading) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Make the model of a SAC-ViT checkpoint, its weights still random, and return it with the weights."""
    tensors = {**found.weights, **found.outside}
    checkpoint = _from_metadata(metadata, tensors, list(found.notes), named=loading.overrides.labels is not None)
    config = checkpoint.model.config
    if loading.heads not in (None, config.geometry.heads):
        raise CheckpointError(f"its config says {config.geometry.heads} heads, not {loading.heads}; leave --heads away")
    if loading.family not in (None, "sac-vit"):
        raise CheckpointError(f"this is a sac-vit checkpoint, not {loading.family}")
    overrides = loading.overrides
    preprocessing, notes = preprocessing_of(Settings(), overrides, config.preprocessing, guessed=False)
    checkpoint.model.config = replace(config, preprocessing=preprocessing)
    if overrides.labels is not None:
        checkpoint.labels, told = labels_of(Settings(), overrides, config.geometry.classes)
        notes += told
    checkpoint.notes += notes
    return checkpoint, dense(tensors)


def _foreign(source: Source, found: Found, loading: _Loading) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Make the model of another family's checkpoint, its weights still random, and return it with the weights."""
    beside = {key: value for key, value in source.raw.items() if not isinstance(value, Tensor)}
    refuse_numbers(source.raw)
    settings = read_settings(source.files, beside, loading.overrides)
    found, settings = own_normalisation(found, settings, loading.overrides)
    tensors, notes = network_of(found, settings, start=loading.start)
    contradictions(settings, sizes_of(tensors))
    headless = HEAD not in tensors
    if headless and not loading.start:
        there = [note.removeprefix("left out ") for note in notes if note.startswith("left out ")]
        also = f"; what is there: {', '.join(there)}" if there else ""
        raise CheckpointError(
            f"this checkpoint has no classifier (`head.weight` is missing{also}); `sacvit train --init` takes it and "
            "trains one"
        )
    if headless:
        tensors = without_head(tensors, settings.classes or 2)
    if loading.start and loading.image_size is not None:
        tensors, told = at_size(tensors, loading.image_size)
        notes += told
    if None not in (loading.heads, settings.heads) and loading.heads != settings.heads:
        raise CheckpointError(
            f"{settings.sources['heads']} says {settings.heads} heads, not {loading.heads}; leave --heads away"
        )
    hints = Hints(
        heads=loading.heads or settings.heads,
        norm_eps=norm_eps_of(found, settings),
        family=loading.family,
        beside=frozenset(map(str, source.raw)),
        name=model_name(source.raw),
    )
    family, config, told, guessed_heads = recognise(tensors, hints)
    if not headless and loading.image_size is None:
        contradictions(settings, {name: getattr(config.geometry, name) for name in SIZES})
    # The recipe of CF-ViT's and LF-ViT's evaluation is published with them; a DeiT's file could be anybody's.
    guess = family not in MARKS.values()
    known = settings if guess else replace(settings, **PUBLISHED)
    geometry, named = config.geometry, not guess or bool(hints.name) or bool(source.files.get("config.json"))
    size, clip = geometry.image_size, geometry.pre_norm
    told += assumptions(known, guessed_heads, hints.norm_eps, size, clip=clip, named=named)
    preprocessing, taken = preprocessing_of(settings, loading.overrides, config.preprocessing, guessed=guess)
    labels: list[str] | None = None
    lines: list[str] = []
    if not loading.start:  # training names its own classes
        labels, lines = labels_of(settings, loading.overrides, config.geometry.classes)
    check_weights(config, tensors)
    model = ReferenceSACViT(replace(config, preprocessing=preprocessing))
    before = [*source.notes, *strangers_note(source.raw), *found.notes, *narrow_notes(found.weights)]
    notes = [*before, *notes, *settings.notes, *told, *taken, *lines]
    return Checkpoint(model, family, labels, notes=notes, headless=headless), tensors


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


def _from_metadata(metadata: Any, tensors: Mapping[str, Tensor], notes: list[str], *, named: bool) -> Checkpoint:
    """Make a model, its weights still random, from a SAC-ViT checkpoint's metadata, without its labels if `named`.

    tensors: the weights that it will have; a model that they can't be is not built. Raises CheckpointError.
    """
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("config"), Mapping):
        raise CheckpointError(f"its `{METADATA_KEY}` entry has no config")
    config = ModelConfig.from_dict(metadata["config"])
    labels, eta = None if named else metadata.get("labels"), metadata.get("eta", 0.5)
    if labels is not None and (
        not isinstance(labels, list)
        or len(labels) != config.geometry.classes
        or not all(isinstance(label, str) for label in labels)
    ):
        raise CheckpointError(f"its labels are not {config.geometry.classes} strings; give the names with --labels")
    try:
        notes += check_names(labels or [], "its labels")
    except LabelError as error:
        raise CheckpointError(f"{error}; give the names with --labels") from error
    if isinstance(eta, bool) or not isinstance(eta, (int, float)) or not 0.0 <= eta <= 1.0:
        raise CheckpointError(f"its eta is {eta!r}, not a number between 0 and 1")
    provenance = metadata.get("provenance") or {}
    if not isinstance(provenance, Mapping):
        raise CheckpointError(f"its provenance is a {type(provenance).__name__}, not an object")
    check_weights(config, tensors)
    return Checkpoint(ReferenceSACViT(config), "sac-vit", labels, float(eta), dict(provenance), notes)


def _fill(model: ReferenceSACViT, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights into the model. Raises CheckpointError for wrong names, shapes or values."""
    expected = model.state_dict()
    if missing := [key for key in expected if key not in tensors]:
        raise incomplete(missing)
    if extra := [key for key in tensors if key not in expected]:
        which = f"1 weight has no place in this model, `{extra[0]}`"
        many = f"{len(extra)} weights have no place in this model, `{extra[0]}` first"
        raise CheckpointError(which if len(extra) == 1 else many)
    for key, target in expected.items():
        value = tensors[key]
        if value.shape != target.shape:
            raise CheckpointError(f"`{key}` has shape {list(value.shape)}; the model's is {list(target.shape)}")
        if not value.is_floating_point():
            raise CheckpointError(f"`{key}` holds {value.dtype}, not floating-point weights")
        if not value.isfinite().all():
            raise CheckpointError(f"`{key}` holds NaN or infinity; give a checkpoint from before the training broke")
    model.load_state_dict({key: tensors[key].float() for key in expected})
