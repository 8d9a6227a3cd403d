"""Reading of checkpoint files without running code in them; contents decide, not suffixes."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from sacvit_deploy.errors import CheckpointError, first_line
from sacvit_deploy.export.bounds import SMALL, UNFOLDED, check_tree, check_unfolded
from sacvit_deploy.export.containers import flatten
from sacvit_deploy.export.impostors import START, impostor
from sacvit_deploy.export.pickles import harmless_globals
from sacvit_deploy.export.strangers import load_with_strangers
from sacvit_deploy.files import is_text
from sacvit_deploy.regular import open_regular
from sacvit_deploy.typed import parse_json

METADATA_KEY = "sacvit"  # metadata entry of SAC-ViT checkpoints: config, labels, eta and provenance
ZIP = b"PK\x03\x04"


def read_file(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint's top-level dict; a safetensors file gives {"model": tensors, "sacvit": metadata}.

    Pickles are read with weights_only=True; `trust` lets them run code, except under the name .safetensors, which
    promises that there is none. Raises CheckpointError.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with open_regular(path) as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(START)
        if size == 0:
            raise CheckpointError(f"{path} is empty")
        if (reason := impostor(path, start)) is not None:
            raise CheckpointError(f"{path} is {reason}")
        if _is_safetensors(start, path):
            content = _read_safetensors(path)
        else:
            if start.startswith(ZIP):
                _check_zip(path, size)
            content = _read_pickle(path, trust and path.suffix.lower() != ".safetensors", start[:12])
        try:
            check_tree(content)
            check_unfolded(flatten(content)[0].values(), size)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return content
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error


def _is_safetensors(start: bytes, path: Path) -> bool:
    """Tell by the start of a file: the length of a header and its brace; what is too short to tell, by its name."""
    if len(start) > 8:
        return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40
    return path.suffix.lower() == ".safetensors"


def _read_safetensors(path: Path) -> dict[str, Any]:
    if not is_text(path):
        raise CheckpointError(f"{path} holds bytes that are no text, which safetensors can't open; rename it")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({first_line(error, 120)})") from error
    content: dict[str, Any] = {"model": tensors}
    if METADATA_KEY in metadata:
        try:
            content[METADATA_KEY] = parse_json(metadata[METADATA_KEY], halves=True)
        except ValueError as error:
            raise CheckpointError(f"{path}: its config is not valid JSON ({error})") from error
    return content


def _check_zip(path: Path, size: int) -> None:
    """Raise CheckpointError for a zip that unpacks to many times its size; torch's own are not compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        return  # torch says what is wrong with it
    if total > UNFOLDED * size + SMALL:
        raise CheckpointError(f"{path} unpacks to {total / 1e9:,.1f} GB from {size / 1e6:,.1f} MB; it is no checkpoint")


def _read_pickle(path: Path, trust: bool, start: bytes) -> dict[str, Any]:
    try:
        # Given a path, torch goes by its suffix.
        with torch.serialization.safe_globals(harmless_globals()), path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        if not trust and (found := load_with_strangers(path, harmless_globals())) is not None:
            return found
        # Torch's long message names the refused function as `GLOBAL module.name`.
        blocked = re.search(r"GLOBAL (\S+)", str(error))
        if blocked:
            raise CheckpointError(
                f"{path} needs code to load ({blocked[1]}), as a model pickled whole does, which could do anything; "
                "save `model.state_dict()` without it, or if you trust its source, say --trust-checkpoint"
            ) from error
        told = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        if start.startswith(ZIP):
            reason = f"holds what can't be loaded safely ({told[1][:120] if told else first_line(error, 120)})"
        else:
            reason = f"is not a PyTorch checkpoint (it begins with {start!r})"
        raise CheckpointError(f"{path} {reason}") from error
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path} holds objects of code that is not here ({first_line(error, 120)}), as a model pickled whole does; "
            "save `model.state_dict()` where that code is"
        ) from error
    except Exception as error:
        # torch.load raises many kinds for damaged files: RuntimeError, EOFError, KeyError, UnicodeDecodeError ...
        reason = "its end is missing, or it is damaged" if start.startswith(ZIP) else first_line(error, 120)
        raise CheckpointError(f"{path} is not a whole PyTorch checkpoint ({reason})") from error
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    return dict(content)
