"""Reading of what the files beside a checkpoint's weights say, and its comparison with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.settings_fields import OVERRULED, Settings, from_source, merge
from sacvit_deploy.export.settings_inside import read_inside
from sacvit_deploy.export.settings_processor import read_processor
from sacvit_deploy.export.settings_timm import is_timm, read_timm
from sacvit_deploy.export.settings_transformers import is_transformers, read_config

__all__ = ["Settings", "contradictions", "read_settings"]

CONFIG = "config.json"
# transformers' processor, and where it is one part of several.
PROCESSOR, PROCESSORS, PART = "preprocessor_config.json", "processor_config.json", "image_processor"
SIZES = ("image_size", "patch_size", "width", "depth", "heads", "classes", "hidden")


def read_settings(files: Mapping[str, Any], inside: Mapping[str, Any], overrides: Overrides | None = None) -> Settings:
    """Read what a checkpoint's files say beside its weights; a file of its own goes before what the weights' file says.

    files: parsed JSON by file name. inside: the top-level dict of a checkpoint file. overrides: what they give is not
    read, and so not refused. Raises CheckpointError that names the file and the field.
    """
    overrides = overrides or Overrides()
    overruled = [name for name, value in vars(overrides).items() if value is not None]
    hidden = {entry for name in overruled for entry in OVERRULED[f"--{name}"]}
    config, model_type = Settings(), None
    if (data := _without(hidden, _object(files, CONFIG))) is not None:
        if is_timm(data):
            config = read_timm(CONFIG, data)
        elif is_transformers(data):
            config, model_type = read_config(CONFIG, data), str(data.get("model_type"))
        else:
            config = Settings(notes=(f"{CONFIG} is neither timm's nor transformers'; nothing was read from it",))
    config, processor, assumed = from_source(CONFIG, config), Settings(), Settings()
    for name in (PROCESSOR, PROCESSORS):
        data = _object(files, name)
        data = data if name == PROCESSOR else _object(data or {}, PART)
        if (data := _without(hidden, data)) is not None:
            read, default = read_processor(
                name,
                data,
                model_type=model_type,
                image_size=config.image_size,
                cropped=overrides.crop is not None,
                scaled=None not in (overrides.mean, overrides.std),
            )
            processor, assumed = merge(processor, read), merge(assumed, default)
    silenced: dict[str, Any] = dict.fromkeys(overruled)
    return replace(merge(processor, config, read_inside(inside, hidden), assumed), **silenced)


def contradictions(settings: Settings, sizes: Mapping[str, int]) -> None:
    """Raise CheckpointError where the files contradict sizes read from the weights, by name; names both values."""
    wrong = {
        name: f"{settings.sources[name]} says {name} {value}, the weights have {sizes[name]}"
        for name, value in settings.said().items()
        if name in SIZES and value != sizes.get(name, value)
    }
    heads, width = settings.heads, sizes.get("width")
    if heads and width and width % heads:
        source = settings.sources["heads"]
        wrong["heads"] = f"{source} says heads {heads}, which don't divide the weights' width {width}"
    if wrong:
        # A classifier that was trained anew often stands beside the names of the old one.
        names = ", or give the names with --labels" if list(wrong) == ["classes"] else ""
        raise CheckpointError(
            f"{'; '.join(wrong.values())}: they don't belong together, so keep the weights in another folder{names}"
        )


def _object(files: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    data = files.get(name)
    if data is not None and not isinstance(data, Mapping):
        raise CheckpointError(f"{name} holds a {type(data).__name__}, not an object")
    return data


def _without(hidden: set[str], data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Leave out the names that flags overrule, at the top and in the objects there."""
    if data is None:
        return None
    shown = {key: value for key, value in data.items() if key not in hidden}
    inner = {key: value for key, value in shown.items() if isinstance(value, Mapping)}
    return shown | {key: {k: v for k, v in value.items() if k not in hidden} for key, value in inner.items()}
