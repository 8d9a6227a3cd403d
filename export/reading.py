"""Reading of checkpoint files without running code in them."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from sacvit_deploy.errors import CheckpointError, first_line

METADATA_KEY = "sacvit"  # metadata entry of SAC-ViT checkpoints: config, labels, eta and provenance


def read_file(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint's top-level dict; a safetensors file gives {"model": tensors, "sacvit": metadata}.

    Pickles are read with weights_only=True; `trust` lets them run code. Raises CheckpointError.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file (.pth, .pt or .safetensors)")
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty")
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path, trust)
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error})") from error
    content: dict[str, Any] = {"model": tensors}
    if METADATA_KEY in metadata:
        try:
            content[METADATA_KEY] = json.loads(metadata[METADATA_KEY])
        except (json.JSONDecodeError, RecursionError) as error:
            raise CheckpointError(f"{path}: its config is not valid JSON ({error})") from error
    return content


def _harmless_globals() -> list[Any]:
    """Return the names that published checkpoints refer to beside tensors, and whose loading runs no code."""
    scalar = (getattr(np, "_core", None) or np.core).multiarray.scalar
    # Numpy 1 and 2 write different names for the same function, and read both.
    names: list[Any] = [argparse.Namespace, np.dtype]
    names += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    if hasattr(np, "dtypes"):
        names += [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    return names


def _read_pickle(path: Path, trust: bool) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        # Torch's long message names the refused function as `GLOBAL module.name`.
        blocked = re.search(r"GLOBAL (\S+)", str(error))
        if blocked:
            raise CheckpointError(
                f"{path} needs code to load ({blocked[1]}), which could do anything; if you trust where it comes "
                "from, say --trust-checkpoint"
            ) from error
        with path.open("rb") as file:
            raise CheckpointError(f"{path} is not a PyTorch checkpoint (it begins with {file.read(12)!r})") from error
    except Exception as error:
        # torch.load raises many kinds for damaged files: RuntimeError, EOFError, KeyError, UnicodeDecodeError ...
        raise CheckpointError(f"{path} is not a whole PyTorch checkpoint ({first_line(error, 120)})") from error
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    return dict(content)
