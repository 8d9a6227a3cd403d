"""A model's preprocessing and labels: what flags say, else what its files say, else a guess that is said aloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.label_file import NOTE, check_names, read_labels
from sacvit_deploy.config import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.settings_fields import Settings, Triple

# Fields of Preprocessing that a flag sets and a guess can spoil.
FLAGS = ("mean", "std", "crop", "interpolation")


@dataclass(frozen=True)
class Overrides:
    """Values of the flags --mean, --std, --crop, --interpolation and --labels; None where a flag was not given."""

    mean: Triple | None = None
    std: Triple | None = None
    crop: float | None = None
    interpolation: str | None = None
    labels: Path | None = None


def preprocessing_of(
    settings: Settings, overrides: Overrides, base: Preprocessing, *, guessed: bool = True
) -> tuple[Preprocessing, list[str]]:
    """Return the preprocessing, and lines that say what was taken and from where.

    base: what counts where neither a flag nor a file speaks. guessed: nobody knows whether it does, so say so.
    """
    taken: dict[str, Any] = {}
    by_source: dict[str, dict[str, Any]] = {}
    for name in (*FLAGS, "resize"):
        flag, said = getattr(overrides, name, None), getattr(settings, name)
        if flag is not None or said is not None:
            taken[name] = said if flag is None else flag
            source = settings.sources[name] if flag is None else f"--{name}"
            by_source.setdefault(source, {})[name] = taken[name]
    preprocessing = replace(base, **taken)
    lines = [f"preprocessing from {source}: {_words(values)}" for source, values in by_source.items()]
    silent = {name: getattr(base, name) for name in FLAGS if name not in taken}
    if silent and guessed:
        flags = ", ".join(f"--{name}" for name in silent)
        lines.append(
            f"no file says {', '.join(silent)}: guessed {_words(silent)}; a wrong guess costs accuracy and no check "
            f"can see it, so give the right values with {flags} if you know them"
        )
    return preprocessing, lines


def labels_of(settings: Settings, overrides: Overrides, classes: int) -> tuple[list[str] | None, list[str]]:
    """Return the labels, None where nothing names the classes, and lines that say where they came from.

    Raises CheckpointError where a file of the checkpoint names another number of classes, LabelError for --labels.
    """
    if overrides.labels is not None:
        labels, notes = read_labels(overrides.labels, classes)
        name = overrides.labels.name or overrides.labels.resolve().name
        return labels, [f"{NOTE}from --labels {name}", *(NOTE + note for note in notes)]
    if settings.labels is None:
        return None, [
            f"{NOTE}no file names the {classes} classes: they are called class 0, class 1, ...; "
            "--labels FILE|FOLDER names them"
        ]
    source = settings.sources["labels"]
    if len(settings.labels) != classes:
        raise CheckpointError(
            f"{source} names {len(settings.labels)} classes, the weights have {classes}; give the names with --labels"
        )
    shared = check_names(settings.labels, source)
    return list(settings.labels), [f"{NOTE}from {source}", *(NOTE + note for note in shared)]


def _words(values: Mapping[str, Any]) -> str:
    """Name values for a line: `mean 0.5, std 0.5, crop 0.9, bicubic`."""
    named = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    words = []
    for name, value in values.items():
        if isinstance(value, tuple):
            numbers = f"{value[0]:g}" if len(set(value)) == 1 else "/".join(f"{number:g}" for number in value)
            words.append(f"{name} {numbers}{' (ImageNet)' if value == named[name] else ''}")
        elif isinstance(value, str):
            words.append({"shortest_edge": "shorter side resized", "squash": "squashed to a square"}.get(value, value))
        else:
            words.append(f"{name} {value:.6g}")
    return ", ".join(words)
