"""Files held in memory: the bytes that were checked are the bytes that are used, whatever happens to the folder.

A mapping would show what others write into the file, and end the process where they cut it short. So a private copy is
read once, hashed on the way, and no file of a bundle is opened again.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.errors import BundleError
from sacvit_deploy.regular import open_regular

CHUNK = 1 << 22  # bytes that are read and hashed at a time, while the cache has them
Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Held:
    """A file's bytes [n], which begin on a page, so that tensors in it lie as in the file; path: where it was read."""

    path: Path
    data: Bytes

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        return self.path.name

    def __bytes__(self) -> bytes:
        return self.data.tobytes()


EngineFile: TypeAlias = Held | Path  # a path is of no bundle: the library opens it, and what it names, by itself


def hold(path: Path, entry: FileEntry | None = None, remedy: str = "export the bundle again") -> Held:
    """Read a file into memory and check it against its entry. Raises BundleError, whose message ends with `remedy`."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if entry is not None and size != entry.bytes:
                raise BundleError(f"{path} has {size} bytes instead of {entry.bytes}; {remedy}")
            data, digest, at = _pages(size), hashlib.sha256(), 0
            view = data.data
            while at < size and (count := file.readinto(view[at : at + CHUNK])):  # type: ignore[attr-defined]
                digest.update(view[at : at + count])
                at += count
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing; {remedy}") from error
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from error
    if at != size:
        raise BundleError(f"{path} became shorter while it was read; {remedy}")
    if entry is not None and digest.hexdigest() != entry.sha256:
        raise BundleError(f"{path} was changed after it was written (its hash differs); {remedy}")
    data.flags.writeable = False
    return Held(path, data)


def hold_all(files: Mapping[str, EngineFile]) -> dict[str, Held]:
    """Return files by role, reading those now that are paths. Raises BundleError."""
    return {role: hold(file) if isinstance(file, Path) else file for role, file in files.items()}


def _pages(size: int) -> Bytes:
    """Return `size` bytes of private memory that begin on a page."""
    if not size:
        return np.empty(0, np.uint8)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), np.uint8)
