"""Where a checkpoint lies: a file, a folder with the files of a model, or a model on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacvit_deploy.console.text import listed
from sacvit_deploy.errors import CheckpointError, first_line, import_library
from sacvit_deploy.export.reading import read_file
from sacvit_deploy.regular import read_regular
from sacvit_deploy.typed import parse_json

HUB = "hf-hub:"
# By preference, as the libraries that write such folders read them.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
INDEX = ".index.json"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
JSON_LIMIT = 64 << 20  # bytes; the index of a thousand shards has a few million
PROCESSOR, PROCESSORS = "preprocessor_config.json", "processor_config.json"
SETTINGS = ("config.json", PROCESSOR, PROCESSORS)
SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
RUN = re.compile(r"checkpoint-(\d+)")  # the folders that transformers' Trainer writes
# What trainers write beside the weights, by patterns of names.
COMPANIONS = {
    r"optimizer(_\d+)?\.(pt|bin|pth)": "an optimizer's state",
    r"scheduler(_\d+)?\.(pt|bin|pth)": "a scheduler's state",
    r"scaler\.(pt|bin)": "a gradient scaler's state",
    r"training_args\.bin": "the options of a training run",
    r"rng_state(_\d+)?\.pth|random_states_\d+\.pkl": "the state of random generators",
}


@dataclass(frozen=True)
class Source:
    """What was found: name for the user, the files with weights, their top-level dict, and the JSON beside by name.

    notes: what was taken from elsewhere.
    """

    name: str
    weights: tuple[Path, ...]
    raw: Mapping[str, Any]
    files: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_source(given: str | os.PathLike[str], *, trust: bool = False) -> Source:
    """Read a checkpoint file, a folder, or `hf-hub:OWNER/NAME[@REVISION]`. Raises CheckpointError."""
    text = os.fspath(given)
    path = download(text) if text.startswith(HUB) else Path(text)
    if not path.exists() and (identity := hub_name(text)):
        raise CheckpointError(f"no checkpoint at {text}; a model on the Hugging Face Hub is called {HUB}{identity}")
    if path.is_file():
        refuse_part(path)
    weights = weights_in(path) if path.is_dir() else path
    if weights.name.endswith(INDEX):
        files, raw = read_shards(weights, trust=trust)
    else:
        files, raw = (weights,), read_file(weights, trust=trust)
    beside, notes = settings_beside(weights.absolute().parent)
    name = text.removeprefix(HUB) if text.startswith(HUB) else path.absolute().name
    return Source(name, files, raw, {name: read_json(file) for name, file in beside.items()}, notes)


def settings_beside(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the JSON files that speak of a folder's weights by name, and notes.

    transformers' Trainer may write the processor's into its output folder alone, above those of its checkpoints.
    """
    found = {name: folder / name for name in SETTINGS if (folder / name).is_file()}
    above = folder.parent / PROCESSOR
    if RUN.fullmatch(folder.name) and not found.keys() & {PROCESSOR, PROCESSORS} and above.is_file():
        return {**found, PROCESSOR: above}, (f"{PROCESSOR} is of the folder above {folder.name}, which has none",)
    return found, ()


def hub_name(text: str) -> str | None:
    """Return the name that a model on the Hub would have, if what was given looks like one, or like its address."""
    found = re.fullmatch(
        r"(https?://(?:huggingface\.co|hf\.co)/|hf:)?([\w-][\w.-]*/[\w-][\w.-]*(?:@[\w.-]+)?)(/.*)?", text
    )
    if found is None or (found[1] is None and (found[3] or text.lower().endswith(SUFFIXES))):
        return None
    return found[2]


def refuse_part(path: Path) -> None:
    """Raise CheckpointError for a file whose name says that it is no checkpoint, or only one part of several."""
    if what := next((what for name, what in COMPANIONS.items() if re.fullmatch(name, path.name)), None):
        raise CheckpointError(
            f"{path} holds {what}, not weights; give the folder, {path.parent}, or its file of weights"
        )
    if path.suffix.lower() == ".json" and not path.name.endswith(INDEX):
        raise CheckpointError(f"{path} is JSON, not weights; give the folder, {path.parent}, or its file of weights")
    shard = SHARD.fullmatch(path.name)
    if shard is None or int(shard["count"]) < 2:
        return
    index = path.with_name(f"{shard['name']}{shard['suffix']}{INDEX}")
    one = f"{path} is one of {int(shard['count'])} shards"
    if index.is_file():
        raise CheckpointError(f"{one}; give all of them by their folder, {path.parent}, or by {index}")
    raise CheckpointError(f"{one}, and {index.name}, which names them, is missing beside it; fetch it and all shards")


def weights_in(folder: Path) -> Path:
    """Return the file with a folder's weights. Raises CheckpointError where there is none, or a choice."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    found = _weights(folder)
    if found and all(SHARD.fullmatch(entry.name) for entry in found):
        refuse_part(found[0])
    if len(found) == 1:
        return found[0]
    if found:
        names = listed([entry.name for entry in found])
        raise CheckpointError(f"{folder} is a folder with {len(found)} files of weights; give one of them: {names}")
    below = [entry for entry in _entries(folder) if entry.is_dir() and _weights(entry)]
    if below:
        # Of a Trainer's checkpoints, the last one first.
        below.sort(key=lambda entry: (-int(run[1]) if (run := RUN.fullmatch(entry.name)) else 0, entry.name))
        names = listed([str(entry) for entry in below])
        raise CheckpointError(f"{folder} is a folder without weights, but they are in folders below; give one: {names}")
    if (folder / "manifest.json").is_file():
        raise CheckpointError(f"{folder} is a bundle, which an export wrote; give the checkpoint that it was made from")
    raise CheckpointError(f"{folder} is a folder without weights; it holds none of {', '.join(WEIGHTS)}")


def _weights(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold weights, by their names. Raises CheckpointError."""
    return [
        entry
        for entry in _entries(folder)
        if entry.suffix.lower() in SUFFIXES
        and not any(re.fullmatch(name, entry.name) for name in COMPANIONS)
        and entry.is_file()
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"can't read {folder}: {error.strerror or error}") from error


def read_shards(index: Path, *, trust: bool = False) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Read the weights that an index spreads over files: these, and {"model": tensors}. Raises CheckpointError."""
    named = read_json(index)
    places = named.get("weight_map") if isinstance(named, Mapping) else None
    if not isinstance(places, Mapping) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} has no `weight_map` from weights to files")
    tensors: dict[str, Any] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:  # a name with a slash could reach outside the folder
            raise CheckpointError(f"{index} names {name!r}, which is no plain file name")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent} lacks {name}, one of {len(set(places.values()))} shards")
        content = read_file(index.parent / name, trust=trust)
        # A safetensors shard is a dict around its tensors, a pickled one is the tensors.
        shard = content["model"] if isinstance(content.get("model"), Mapping) else content
        if twice := sorted(set(shard) & set(tensors)):
            raise CheckpointError(f"{index.parent}: `{twice[0]}` is in {name} and in another shard, too")
        if strange := sorted(key for key in shard if places.get(key) != name):
            raise CheckpointError(f"{index.parent}: {name} holds `{strange[0]}`, which the index does not place there")
        tensors |= shard
    if missing := sorted(set(places) - set(tensors)):
        raise CheckpointError(f"{index.parent}: `{missing[0]}` is not in {places[missing[0]]}, where the index has it")
    return tuple(index.parent / name for name in sorted(set(places.values()))), {"model": tensors}


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises CheckpointError."""
    try:
        return parse_json(read_regular(path, JSON_LIMIT), foreign=True)
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON ({first_line(error, 80)})") from error


def download(name: str) -> Path:
    """Fetch a model from the Hub into huggingface_hub's cache, or find it there; returns its folder."""
    identity, _, revision = name.removeprefix(HUB).partition("@")
    hub = import_library("huggingface_hub", "huggingface_hub, which fetches from there,", "pip install huggingface_hub")
    try:
        for weights in (["*.safetensors", "*.safetensors" + INDEX], ["*.bin", "*.bin" + INDEX]):
            patterns = [*SETTINGS, *weights]
            folder = Path(hub.snapshot_download(identity, revision=revision or None, allow_patterns=patterns))
            if any(entry.suffix in SUFFIXES for entry in folder.iterdir()):
                return folder
    except Exception as error:
        # The library raises its own kinds, its HTTP client's, and ValueError for a name that can't be one.
        raise CheckpointError(f"can't get {identity} from the Hugging Face Hub ({first_line(error, 160)})") from error
    raise CheckpointError(f"{identity} on the Hugging Face Hub holds no weights in a format for PyTorch")
