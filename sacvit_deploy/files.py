"""Atomic writes: files and folders are written under a hidden name and renamed when complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def partial_name(path: Path) -> Path:
    """Return the hidden name that this process writes `path` under: `.NAME.partial-PID`, beside it."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write; when the block ends well, flush it and rename it to `path`, else remove it.

    A reader sees the old file or the new one, which keeps the old one's mode. Raises OSError.
    """
    partial = partial_name(path)
    try:
        yield partial
        flush(partial)
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o777)
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def flush(path: Path) -> None:
    """Wait until a file's bytes, or those of all files in a folder, are on the disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
