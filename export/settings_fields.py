"""What a checkpoint's own files say beside its weights, and checked reading of single values from their JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from sacvit_deploy.bundle.label_file import check_names
from sacvit_deploy.bundle.label_json import KEYS, disagreements, from_json
from sacvit_deploy.errors import CheckpointError, LabelError

Triple = tuple[float, float, float]
Labels = tuple[str, ...]
BESIDES = ("sources", "notes")  # of Settings: about the fields, none of them
BYTE = 255
LARGEST = 1e9  # any number in such files is far below
# Entries that hold class names and nothing else.
NAMES = ("id2label", "label2id", "idx_to_class", "class_to_idx", "label_names", "class_names")
# Flags that overrule what a file says, and the names in files that they overrule.
OVERRULED = {
    "--mean": ("mean", "image_mean"),
    "--std": ("std", "image_std"),
    "--crop": ("crop_pct", "crop_size"),
    "--interpolation": ("interpolation", "resample"),
    "--labels": (*KEYS, "label_descriptions", "num_classes", "num_labels"),
}


@dataclass(frozen=True)
class Settings:
    """What a checkpoint's own files say beside its weights; None where they are silent.

    crop, interpolation, resize: in the words of `config.Preprocessing`. image_size to hidden: sizes in the words of
    `config.Geometry`, to be compared with the weights. pool: what the classifier sees, the class token or the mean of
    the patches. activation: of the MLPs, `gelu` or another name. reads_pooler: False where the classifier reads the
    class token and no pooler. rotary: the name of an architecture with rotary positions. sources: field -> the file it
    came from.
    """

    mean: Triple | None = None
    std: Triple | None = None
    crop: float | None = None
    interpolation: str | None = None
    resize: str | None = None
    labels: tuple[str, ...] | None = None
    image_size: int | None = None
    patch_size: int | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    classes: int | None = None
    hidden: int | None = None
    norm_eps: float | None = None
    pool: Literal["token", "mean"] | None = None
    activation: str | None = None
    reads_pooler: bool | None = None
    rotary: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def said(self) -> dict[str, Any]:
        """Return the fields that are not silent, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in BESIDES}
        return {name: value for name, value in values.items() if value is not None}


def from_source(source: str, settings: Settings) -> Settings:
    """Name `source` as where every field that `settings` has came from."""
    return replace(settings, sources=dict.fromkeys(settings.said(), source))


def merge(*by_rank: Settings) -> Settings:
    """Join what several files say: of each field, the first file's that is not silent; of the notes, all."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for settings in by_rank:
        for name, value in settings.said().items():
            if name not in values:
                values[name], sources[name] = value, settings.sources[name]
    return Settings(**values, sources=sources, notes=tuple(note for one in by_rank for note in one.notes))


@dataclass(frozen=True)
class Section:
    """Object of a JSON file, read value by value; every error is a CheckpointError that names the file and the field.

    A value that is missing or null is None. where: the object's place, such as `config.json: pretrained_cfg.`.
    """

    where: str
    data: Mapping[str, Any]

    def section(self, name: str) -> Section:
        """Return an object inside this one; an empty one where there is none."""
        value = self.data.get(name)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "an object")
        return Section(f"{self.where}{name}.", value)

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """Make the error for a field whose value is not what it should be."""
        flag = next((f", or say {flag}" for flag, names in OVERRULED.items() if name in names), "")
        return CheckpointError(f"{self.where}{name} is {as_text(self.data.get(name))}; it should be {expected}{flag}")

    def number(self, name: str) -> float | None:
        """Return a finite number."""
        value = self.data.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:  # nor NaN
            raise self.wrong(name, "a finite number")
        return float(value)

    def size(self, name: str) -> int | None:
        """Return a whole number above zero."""
        value = self.data.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < LARGEST:
            raise self.wrong(name, "a whole number above 0")
        return value

    def text(self, name: str) -> str | None:
        """Return a text; an empty one counts as silence."""
        value = self.data.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false, `default` where the file is silent."""
        value = self.data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def square(self, name: str) -> int | None:
        """Return the side of a square: one number, [side, side] or [3, side, side]."""
        value = self.data.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (2, 3):
            sides = value[-2:]
            if sides[0] != sides[1] or (len(value) == 3 and value[0] != 3):
                raise self.wrong(name, "three channels of a square")
            return Section(self.where, {name: sides[0]}).size(name)
        return self.size(name)

    def triple(self, name: str, *, positive: bool = False) -> Triple | None:
        """Return three finite numbers, one for each channel, all above zero if `positive`."""
        value = self.data.get(name)
        if value is None:
            return None
        try:
            red, green, blue = (float(item) for item in value if not isinstance(item, (bool, str)))
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(name, "three numbers, one for each channel") from None
        if not all(math.isfinite(item) for item in (red, green, blue)):
            raise self.wrong(name, "three finite numbers")
        if positive and min(red, green, blue) <= 0:
            raise self.wrong(name, "three numbers above 0")
        if reason := beyond_one((red, green, blue)):
            raise self.wrong(name, reason)
        return red, green, blue

    def share(self, name: str) -> float | None:
        """Return a crop: the share of the resized side that is cut out, from 0.1 to 1."""
        value = self.number(name)
        if value is not None and not 0.1 <= value <= 1.0:
            raise self.wrong(name, "between 0.1 and 1")
        return value

    def choice(self, name: str, allowed: Mapping[Any, str]) -> str | None:
        """Return our word for one of the values that can be served."""
        value = self.data.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, (str, int)) or value not in allowed:
            words = (str(key) if key == word else f"{key} ({word})" for key, word in allowed.items())
            raise self.wrong(name, " or ".join(words))
        return allowed[value]


def as_text(value: Any) -> str:
    """Return a value as an error names it: its first characters; of one that Python can't print, the type."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # whole numbers of thousands of digits
        return f"a {type(value).__name__}"


def beyond_one(values: Sequence[float]) -> str | None:
    """Return what a mean or std should be instead, where it has a value above 1: its pixels go from 0 to 1."""
    if max(values) <= 1:
        return None
    return f"of pixels from 0 to 1; divide by 255, if these are of 0 to 255: {numbers(v / BYTE for v in values)}"


def numbers(values: Iterable[float]) -> str:
    """Format numbers as the flags take them: `0.485,0.456,0.406`."""
    return ",".join(f"{value:.6g}" for value in values)


def labels_in(name: str, data: Mapping[str, Any], classes: int | None) -> tuple[Labels | None, tuple[str, ...]]:
    """Return the class names in the content of a file, None where it has none, and notes.

    classes: how many the file itself says there are. Raises CheckpointError for names that don't fit.
    """
    try:
        labels = from_json(data)
        if labels is None:
            unread = [key for key in NAMES if isinstance(data.get(key), (list, tuple, Mapping)) and data[key]]
            reason = "is read by no rule for class names, so it was left out"
            return None, tuple(f"{name}: its {key} {reason}" for key in unread)
        check_names(labels, name)
    except LabelError as error:
        said = str(error) if str(error).startswith(name) else f"{name}: {error}"
        raise CheckpointError(f"{said}; give the names with --labels") from error
    if classes is not None and len(labels) != classes:
        raise CheckpointError(
            f"{name} names {len(labels)} classes, but says that there are {classes}; give the names with --labels"
        )
    return tuple(labels), tuple(f"{name}: {note}" for note in disagreements(data))
