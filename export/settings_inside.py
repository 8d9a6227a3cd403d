"""What a checkpoint file holds beside its weights: `class_to_idx`, `classes`, the options of the training script."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.architectures import said_by_name
from sacvit_deploy.export.settings_fields import Section, Settings, as_text, from_source, labels_in, merge
from sacvit_deploy.export.settings_timm import INTERPOLATIONS, POOLS

NAMES = ("class_to_idx", "idx_to_class", "id2label", "class_names", "classes", "labels")
MODELS = ("model", "arch", "architecture", "model_name", "backbone")  # options that name the architecture
SCRIPTS = ("args", "hyper_parameters")  # timm's and DeiT's scripts, and Lightning, keep their options there


def read_inside(inside: Mapping[str, Any], hidden: Container[str] = ()) -> Settings:
    """Read names and preprocessing from a checkpoint's top-level dict, but no entry that is `hidden`.

    Entries of a kind that nothing is read from become notes. Raises CheckpointError that names the entry.
    """
    said = [_names(inside, "the checkpoint", hidden)]
    for key in SCRIPTS:
        options = inside.get(key)
        source = f"the checkpoint's {key}"
        values = options if isinstance(options, Mapping) else getattr(options, "__dict__", None) or None
        if values is None:
            if options is not None:
                said.append(
                    Settings(notes=(f"{source} is of type {type(options).__name__}: nothing was read from it",))
                )
            continue
        values = {name: _plain(value) for name, value in values.items()}
        said += [_names(values, source, hidden), _preprocessing(source, values, hidden), _network(source, values)]
    said.append(from_source("the checkpoint's arch", said_by_name(_text(inside, "arch"))))
    return merge(*said)


def _plain(value: Any) -> Any:
    """Return a short array or tensor as a list, anything else as it is."""
    if isinstance(value, (np.ndarray, Tensor)) and 0 < len(value.shape) < 3:
        return value.tolist()
    return value


def model_name(inside: Mapping[str, Any]) -> str:
    """Return the architecture's name that a training script left behind, or an empty text."""
    options = (inside.get(key) for key in SCRIPTS)
    values = [one if isinstance(one, Mapping) else getattr(one, "__dict__", None) or {} for one in options]
    names = (_text(one, name) for one in values for name in MODELS)
    return next((name for name in (*names, _text(inside, "arch")) if name), "")


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _network(source: str, values: Mapping[str, Any]) -> Settings:
    """Read what an option's architecture, and timm's `--model-kwargs` and `--gp`, say of the arithmetic."""
    named = merge(*(from_source(source, said_by_name(_text(values, key))) for key in MODELS))
    given = values.get("model_kwargs")
    given = Section(f"{source}: model_kwargs.", given if isinstance(given, Mapping) else {})
    pool = (_text(values, "gp") if "crop_pct" in values else "") or given.text("global_pool")
    if pool and pool not in POOLS:
        raise CheckpointError(f"{source}: the model pools by {pool!r}; only token and avg can be served")
    own = Settings(
        heads=given.size("num_heads"), activation=given.text("act_layer"), pool=POOLS[pool] if pool else None
    )
    return merge(from_source(source, own), named)


def _preprocessing(source: str, values: Mapping[str, Any], hidden: Container[str]) -> Settings:
    """Read the options of timm's train.py, which are None where the model's own value counts.

    Elsewhere `std` and `interpolation` may mean anything: only a list of numbers is taken for a channel's statistics.
    """
    shown = {key: value for key, value in values.items() if key not in hidden}
    lists = {key: shown[key] for key in ("mean", "std") if isinstance(shown.get(key), (list, tuple))}
    odd = [key for key, value in lists.items() if len(value) != 3]
    notes = tuple(f"{source}: {key} has no three values, so it was left out: {as_text(lists.pop(key))}" for key in odd)
    words = {key: shown.get(key) for key in ("crop_pct", "interpolation")} if "crop_pct" in values else {}
    options = Section(f"{source}: ", lists | words)
    found = Settings(
        mean=options.triple("mean"),
        std=options.triple("std", positive=True),
        crop=options.share("crop_pct"),
        interpolation=options.choice("interpolation", INTERPOLATIONS),
        image_size=_input_size(values.get("input_size")),
        notes=notes,
    )
    return from_source(source, found)


def _input_size(value: Any) -> int | None:
    """Return the side of timm's [3, S, S]; what other scripts call `input_size` may be something else."""
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(type(side) is int for side in value):
        return int(value[1]) if value[0] == 3 and value[1] == value[2] else None
    return None


def _names(values: Mapping[str, Any], source: str, hidden: Container[str]) -> Settings:
    """Read the first entry that names the classes; others of the same name, such as a count of classes, are none."""
    entries = {key: _plain(values[key]) for key in NAMES if key in values and key not in hidden}
    lists = {key: value for key, value in entries.items() if isinstance(value, (list, tuple, Mapping))}
    labels, notes = labels_in(source, lists, None)
    sets = [key for key, value in entries.items() if isinstance(value, (set, frozenset))]
    if labels is None:
        told = "is a set, which has no order, so it was left out; give the names with --labels"
        notes += tuple(f"{source}: its {key} {told}" for key in sets)
    return from_source(source, Settings(labels=labels, notes=notes))
