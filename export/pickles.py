"""Types that people's pickled checkpoints hold beside tensors, and whose loading runs no code of the file's choice."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import types
from typing import Any

import numpy as np


def harmless_globals() -> list[Any]:
    """Return types and constructors for `torch.serialization.safe_globals`, some under a name that files use.

    Each only builds a value from the arguments beside it: nothing here opens, imports or calls anything else.
    """
    return [*_plain(), *_numpy(), *_paths()]


def _plain() -> list[Any]:
    return [
        argparse.Namespace,
        types.SimpleNamespace,
        collections.Counter,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        complex,
        bytes,
        bytearray,
    ]


def _numpy() -> list[Any]:
    core = getattr(np, "_core", None) or np.core
    names: list[Any] = [np.dtype, np.ndarray]
    # Numpy 1 and 2 write different names for the same functions, and read both.
    for function in (core.multiarray.scalar, core.multiarray._reconstruct):
        names += [(function, f"numpy.{package}.multiarray.{function.__name__}") for package in ("core", "_core")]
    # A dtype's own class, by which numpy pickles it since 1.25, and which PyTorch asks of every value it builds.
    kinds = [*(type(np.dtype(code)) for code in np.typecodes["All"]), *vars(getattr(np, "dtypes", types)).values()]
    return names + [kind for kind in kinds if _is_dtype(kind)]


def _is_dtype(kind: Any) -> bool:
    # Arrays of objects hold pickles of their own.
    return isinstance(kind, type) and issubclass(kind, np.dtype) and kind is not type(np.dtype(object))


def _paths() -> list[Any]:
    """Return paths, which become pure ones: those of the other system can't be built here."""
    names: list[Any] = []
    for module in ("pathlib", "pathlib._local"):
        for pure in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
            names.append((pure, f"{module}.{pure.__name__}"))
            names.append((pure, f"{module}.{pure.__name__.removeprefix('Pure')}"))
    return names
