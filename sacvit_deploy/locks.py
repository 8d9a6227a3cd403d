"""Locks on folders: a process holds one until it ends, however it ends. Readers take none.

A lock is on a file in the folder, which whoever holds it removes again. What a killed process leaves is an unlocked
file, which the next one takes. Where a file system has no locks, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = ".sacvit.lock"
MOVABLE = os.name != "nt"  # Windows renames no folder that holds an open file
PATIENCE = 1.0  # seconds after which a waiting process says so
WITHOUT = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EBADF}


@dataclass
class Lock:
    """Held lock. certain: False where the file system has no locks, so that others may hold it, too."""

    path: Path
    descriptor: int
    certain: bool

    def release(self, *, remove: bool = True) -> None:
        """Remove the lock's file, unless another has its name by now, and let go; a second call does nothing."""
        if self.descriptor < 0:
            return
        if remove and MOVABLE and _is_at(self.descriptor, self.path):
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self.descriptor)
        self.descriptor = -1
        if remove and not MOVABLE:  # only now; it fails where another process has opened the file
            with contextlib.suppress(OSError):
                self.path.unlink()


def try_lock(folder: Path, *, create: bool = True) -> Lock | None:
    """Lock a folder; None while another process holds its lock.

    Raises OSError where the lock's file can't be opened: FileNotFoundError without the folder, or, unless `create`,
    without that file.
    """
    path = folder / LOCK
    while True:
        descriptor = _open(path, create)
        try:
            certain = take(descriptor)
            # A former holder may have removed the file after it was opened here, or the folder may have been replaced.
            if _is_at(descriptor, path):
                lock, descriptor = Lock(path, descriptor, certain), -1
                return lock
        except BlockingIOError:
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold a folder's lock, after waiting for whoever has it, which a line on stderr says. Raises OSError."""
    since, told = time.monotonic(), False
    while (lock := try_lock(folder)) is None:
        if not told and time.monotonic() - since > PATIENCE:
            print(f"waiting for another command that is changing {folder}", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.2 if told else 0.02)
    try:
        yield lock
    finally:
        lock.release()


def take(descriptor: int, system: str = os.name) -> bool:
    """Lock an open file without waiting; returns False where the file system has no locks.

    system: `os.name`. Raises BlockingIOError while another holds it.
    """
    try:
        _locking(system)(descriptor)
    except OSError as error:
        if isinstance(error, BlockingIOError) or (system == "nt" and error.errno in (errno.EACCES, errno.EDEADLK)):
            raise BlockingIOError(error.errno, "locked by another process") from error
        if error.errno in WITHOUT:
            return False
        raise
    return True


def _locking(system: str) -> Callable[[int], object]:
    """Return the system's way to lock an open file for this process alone, or to fail at once."""
    if system == "nt":
        windows: Any = importlib.import_module("msvcrt")
        return lambda descriptor: windows.locking(descriptor, windows.LK_NBLCK, 1)
    import fcntl

    return lambda descriptor: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open(path: Path, create: bool) -> int:
    follow = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | follow | (os.O_CREAT if create else 0), 0o666)
    except PermissionError:  # another user's, which can be locked, too
        return os.open(path, os.O_RDONLY | follow)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
